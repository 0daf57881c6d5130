"""The listening grid in a real browser: cursor, change of clip, loop, keys, filter, sort, address, phone, dark, access."""

import json

import pytest

from tests.browser import offline_page, serious_findings, wait_until

from .cases import FRAME, GRID, focus, playing, press, state

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_script_runs_once_and_players_stay_behind_it(opened):
    assert opened.evaluate("document.querySelectorAll('eegviz-grid.eg-live').length") == 2
    assert opened.evaluate("[...document.querySelectorAll('audio')].every(a => a.hidden && a.controls)")
    assert opened.evaluate("new Set([...document.querySelectorAll('eegviz-grid')].map(g => g.key)).size") == 2


def test_the_cursor_is_where_the_sound_is_on_every_picture(opened):
    focus(opened)
    press(opened, " ")
    playing(opened)
    found = opened.evaluate("""async () => {
      const grid = document.querySelector('eegviz-grid'), row = grid.rows[0], {player} = grid, {context} = player;
      const tap = context.createAnalyser(), rate = context.sampleRate, sound = row.track.sounds[0].getChannelData(0);
      tap.fftSize = 2048; player.output.connect(tap);
      const last = new Float32Array(tap.fftSize), errors = [], apart = [];
      await new Promise(r => setTimeout(r, 200));
      for (let turn = 0; turn < 200 && errors.length < 40; turn++) {
        const frame = await new Promise(requestAnimationFrame);
        const share = [...row.node.querySelectorAll('.eg-cursor')].map(one => {
          const box = one.parentNode.getBoundingClientRect(), own = one.getBoundingClientRect();
          return (own.left - box.left) / (box.width - own.width); });
        tap.getFloatTimeDomainData(last);
        const now = context.currentTime, stamp = context.getOutputTimestamp();
        if (performance.now() - frame > 10) continue; // the machine did something else between drawing and looking
        const late = now - (stamp.contextTime + (performance.now() - stamp.performanceTime) / 1000);
        // the sound's own place: where its last 2048 samples are found in the decoded clip
        const guess = Math.round(row.here * rate); let best = Infinity, place = 0;
        for (let end = Math.max(2048, guess - 0.12 * rate); end < Math.min(sound.length, guess + 0.2 * rate); end++) {
          let sum = 0;
          for (let i = 0; i < 2048 && sum < best; i += 16) sum += Math.abs(sound[Math.round(end) - 2048 + i] - last[i]);
          if (sum < best) [best, place] = [sum, Math.round(end)];
        }
        const heard = place / rate - Math.min(Math.max(late, 0), 0.25);
        if (best < 6) errors.push(Math.abs(share[0] * row.track.seconds - heard));
        apart.push(Math.max(...share) - Math.min(...share));
      }
      errors.sort((a, b) => a - b);
      return {n: errors.length, worst: errors.at(-1), median: errors[errors.length >> 1], apart: Math.max(...apart)};
    }""")
    print(f"\ncursor: {json.dumps(found)} s; a mel frame is {FRAME:.4f} s")
    assert found["n"] >= 15
    assert found["median"] <= FRAME
    assert found["worst"] <= FRAME
    assert found["apart"] < 1e-3


def test_a_change_of_clip_keeps_the_place_and_leaves_no_gap(opened):
    """The player itself, on a clock that renders every sample: what comes out is compared with the decoded clips."""
    found = opened.evaluate("""async () => {
      const Grid = customElements.get('eegviz-grid'), row = document.querySelector('eegviz-grid').rows[0], rate = 48000;
      const offline = new OfflineAudioContext(1, 2.5 * rate, rate), player = new Grid.player.constructor(), {track} = row;
      const go = offline.resume.bind(offline);
      offline.resume = () => Promise.resolve();
      player.context = offline; player.output = offline.createGain(); player.output.connect(offline.destination);
      track.at = 0.5;
      await player.play(track);
      const begin = player.running.begin;
      offline.suspend(1).then(() => { track.chosen = 1; player.choose(); go(); });
      const heard = (await offline.startRendering()).getChannelData(0), first = Math.round((begin - 0.5) * rate);
      const [before, after] = track.sounds.map(s => s.getChannelData(0));
      const apart = (sound, from, to) => { let worst = 0;
        for (let i = Math.round(from * rate); i < Math.round(to * rate); i++) worst = Math.max(worst, Math.abs(heard[i] - sound[i - first]));
        return worst; };
      let quiet = 0, longest = 0;  // samples in a row whose 2 ms are below a tenth of the usual level
      for (let i = Math.round(0.5 * rate); i < 2 * rate; i += 48) {
        let most = 0; for (let k = 0; k < 96; k++) most = Math.max(most, Math.abs(heard[i + k]));
        quiet = most < 0.04 ? quiet + 1 : 0; longest = Math.max(longest, quiet);
      }
      return {old: apart(before, 0.5, 1), fresh: apart(after, 1.02, 2), gap_ms: longest};
    }""")
    print(f"\nchange of clip: {json.dumps(found)}")
    assert found["old"] < 1e-3
    assert found["fresh"] < 1e-3  # 20 ms after the change nothing but the other clip, at the same place
    assert found["gap_ms"] <= 20


def test_keys_choose_play_loop_and_move(opened):
    focus(opened)
    press(opened, " ")
    playing(opened)
    press(opened, "2")
    assert state(opened)["chosen"] == 1
    assert state(opened)["playing"]
    press(opened, " ")
    assert not state(opened)["playing"]
    place = state(opened)["at"]
    press(opened, "ArrowRight", "ArrowRight", "Shift+ArrowLeft")
    assert state(opened)["at"] == pytest.approx(place + 0.95, abs=1e-6)
    press(opened, "Home", "ArrowRight", "a", "ArrowRight", "b")
    assert state(opened)["loop"] == [0.5, 1.0]
    press(opened, "+", "m", "ArrowDown")
    now = state(opened)
    assert (now["speed"], now["matched"], now["row"]) == (1.25, False, 1)
    press(opened, "ArrowUp", "c")
    assert state(opened)["loop"] is None
    assert state(opened)["row"] == 0


def test_a_loop_is_played_over_and_over(opened):
    focus(opened)
    press(opened, "Home", "ArrowRight", "a", "ArrowRight", "b", " ")
    places = []
    wait_until(opened, f"{GRID}.current.playing")
    for _ in range(40):
        places.append(state(opened)["at"])
        opened.wait_for_timeout(50)
    assert min(places) >= 0.5
    assert max(places) < 1.0
    assert sum(later < earlier for earlier, later in zip(places, places[1:], strict=False)) >= 2


def test_the_keys_of_a_page_without_focus_and_in_a_field_are_left_alone(opened):
    opened.evaluate("document.activeElement.blur()")
    press(opened, " ", "2")
    assert state(opened)["chosen"] == 0
    opened.evaluate(f"{GRID}.fold.open = true")
    opened.locator("eegviz-grid").first.locator("input[type=number]").focus()
    press(opened, "2", "a")
    assert state(opened)["chosen"] == 0
    assert state(opened)["loop"] is None


def test_the_space_bar_on_a_button_presses_that_button(opened):
    opened.locator("eegviz-grid").first.locator(".eg-choose").nth(2).focus()
    press(opened, " ")
    playing(opened)
    assert state(opened)["chosen"] == 2
    press(opened, " ")
    assert not state(opened)["playing"]


def test_help_lists_the_keys_and_closes(opened):
    focus(opened)
    press(opened, "?")
    assert opened.locator("dialog[open]").count() == 1
    assert "loop begins" in opened.locator("dialog[open]").inner_text()
    assert serious_findings(opened) == []
    press(opened, "Escape")
    assert opened.locator("dialog[open]").count() == 0


def test_click_goes_there_and_drag_marks_a_loop(opened):
    picture = opened.locator("eegviz-grid").first.locator(".eg-picture").nth(1)
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] / 2, "y": 20})
    now = state(opened)
    assert now["chosen"] == 1
    assert now["at"] == pytest.approx(2.0, abs=0.03)
    opened.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 30)
    opened.mouse.down()
    opened.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 30)
    opened.mouse.up()
    assert state(opened)["loop"] == pytest.approx([1.0, 2.0], abs=0.03)
    opened.locator("eegviz-grid").first.get_by_role("button", name="Clear the loop").first.click()
    assert state(opened)["loop"] is None


def test_a_click_while_it_plays_goes_on_from_there(opened):
    focus(opened)
    press(opened, " ")
    playing(opened)
    picture = opened.locator("eegviz-grid").first.locator(".eg-picture").nth(0)
    picture.click(position={"x": picture.bounding_box()["width"] * 0.75, "y": 20})
    wait_until(opened, f"{GRID}.current.playing && {GRID}.current.here > 3.05")


def test_one_row_plays_at_a_time_on_the_whole_page(opened):
    focus(opened)
    press(opened, " ")
    playing(opened)
    focus(opened, grid=1)
    press(opened, " ")
    playing(opened, grid=1)
    assert not state(opened)["playing"]
    assert state(opened)["at"] > 0.3  # it waits where it was


def test_filters_hide_clips_and_rows(opened):
    opened.evaluate(f"{GRID}.fold.open = true")
    boxes = opened.locator("eegviz-grid").first
    boxes.get_by_role("combobox", name="listener", exact=True).select_option("S01")
    assert state(opened)["shown"] == [[0, 2], [0, 1]]
    assert "4 of 6 clips" in boxes.locator("output").inner_text()
    boxes.get_by_role("combobox", name="listener", exact=True).select_option("S03")
    assert state(opened)["shown"] == [[], [0, 2]]
    boxes.get_by_role("combobox", name="listener", exact=True).select_option("")
    boxes.get_by_label("score at least").fill("0.65")
    boxes.get_by_label("score at least").press("Enter")
    assert state(opened)["shown"] == [[0, 2], [0, 1]]
    boxes.get_by_role("combobox", name="song", exact=True).select_option("song25")
    assert state(opened)["shown"] == [[], [0, 1]]


def test_sorting_by_score_and_listener_and_the_digits_follow(opened):
    opened.evaluate(f"{GRID}.fold.open = true")
    sort = opened.locator("eegviz-grid").first.get_by_role("combobox", name="sort by", exact=True)
    sort.select_option("score")
    assert state(opened)["rows"] == [1, 0]
    assert state(opened)["shown"] == [[0, 2, 1], [0, 1, 2]]
    focus(opened)
    press(opened, "2")
    assert state(opened)["chosen"] == 2
    sort.select_option("listener")
    assert state(opened)["shown"] == [[0, 2, 1], [0, 1, 2]]
    assert state(opened)["rows"] == [0, 1]
    sort.select_option("")
    assert state(opened)["shown"] == [[0, 1, 2], [0, 1, 2]]


def test_the_address_brings_everything_back(chromium, path):
    with offline_page(chromium, path) as (shown, _, problems):
        shown.evaluate(f"{GRID}.fold.open = true")
        shown.locator("eegviz-grid").first.get_by_role("combobox", name="sort by", exact=True).select_option("score")
        focus(shown, row=1)
        press(shown, "3", "ArrowRight", "a", "ArrowRight", "ArrowRight", "b", "ArrowLeft", "-", "m")
        focus(shown, grid=1)
        press(shown, "2", "ArrowRight")
        shown.wait_for_timeout(300)
        address, before = shown.url, [state(shown), state(shown, grid=1)]
        assert problems == []
        # a heading's address is nobody's state, and the way back leads to what was heard
        shown.locator(".contents a").first.click()
        assert shown.url.endswith("#one")
        shown.wait_for_timeout(300)
        assert shown.url.endswith("#one")
        shown.go_back()
        shown.wait_for_timeout(300)
        assert shown.url == address
    assert "#listen&" in address
    context = chromium.new_context(offline=True)
    again = context.new_page()
    again.goto(address)
    again.wait_for_timeout(300)
    after = [state(again), state(again, grid=1)]
    assert after == before
    assert after[0]["loop"] == [0.5, 1.5]
    assert (after[0]["row"], after[0]["chosen"], after[0]["at"], after[0]["speed"]) == (1, 2, 1.0, 0.75)
    context.close()


def test_each_sound_is_downloaded_under_a_sensible_name(opened):
    with opened.expect_download() as waiting:
        opened.locator(".eg-save").nth(1).click()
    got = waiting.value
    assert got.suggested_filename == "song21-reconstruction-from-s02-listener-1.ogg"
    with open(got.path(), "rb") as file:
        assert file.read(4) == b"OggS"


def test_loudness_is_matched_or_taken_back(opened):
    focus(opened)
    press(opened, " ")
    playing(opened)
    label = opened.locator("eegviz-grid").first.locator(".eg-gain").first
    assert label.inner_text() == "level matched, +12 dB"
    gain = f"({GRID}.rows[0].track.gain(1))"
    assert opened.evaluate(gain) == 1
    opened.locator("eegviz-grid").first.get_by_role("combobox", name="loudness", exact=True).select_option("raw")
    assert opened.evaluate(gain) == pytest.approx(0.25, abs=0.01)
    assert label.inner_text() == "level as reconstructed"
    assert state(opened)["playing"]


def test_slower_keeps_the_pitch_and_the_place(opened):
    """A steady tone at half speed has its frequency still, and takes twice as long."""
    found = opened.evaluate("""() => {
      const context = new OfflineAudioContext(1, 48000, 48000), sound = context.createBuffer(1, 96000, 48000);
      sound.copyToChannel(Float32Array.from({length: 96000}, (_, i) => 0.5 * Math.sin(2 * Math.PI * 440 * i / 48000)), 0);
      const {track} = document.querySelector('eegviz-grid').rows[0];
      track.sounds = [sound]; track.decoding = Promise.resolve(); track.made = null; track.speed = 0.5;
      return track.buffers(context).then(([made]) => {
        const data = made.getChannelData(0); let up = 0, most = 0;
        for (let i = 48000; i < 144000; i++) { if (data[i] < 0 && data[i + 1] >= 0) up++; most = Math.max(most, Math.abs(data[i])); }
        return {length: made.length, up, most};
      });
    }""")
    assert found["length"] == 192_000
    assert found["up"] == pytest.approx(880, abs=9)
    assert found["most"] == pytest.approx(0.5, abs=0.06)


def test_without_web_audio_plain_players_stand_and_the_cursor_follows(chromium, path):
    context = chromium.new_context(offline=True)
    context.add_init_script("delete window.AudioContext")
    shown = context.new_page()
    shown.goto(path.as_uri())
    assert "no Web Audio" in shown.locator(".eg-said").first.inner_text()
    assert shown.locator("audio").first.is_visible()
    focus(shown)
    press(shown, " ")
    playing(shown)
    press(shown, "2")
    wait_until(shown, f"{GRID}.rows[0].cells[1].audio.currentTime > 0.4")
    assert shown.evaluate(f"{GRID}.rows[0].cells[0].audio.paused")
    cursor = shown.evaluate(f"parseFloat({GRID}.rows[0].node.style.getPropertyValue('--t'))")
    assert cursor == pytest.approx(state(shown)["at"], abs=0.2)
    context.close()


def test_sounds_that_cannot_be_decoded_leave_plain_players_and_a_word(chromium, path):
    context = chromium.new_context(offline=True)
    context.add_init_script(
        "AudioContext.prototype.decodeAudioData = () => Promise.reject(new DOMException('no', 'EncodingError'))"
    )
    shown = context.new_page()
    shown.goto(path.as_uri())
    focus(shown)
    press(shown, " ")
    wait_until(shown, "document.querySelector('.eg-said').textContent.includes('cannot be decoded')")
    assert shown.locator("audio").first.is_visible()
    playing(shown)  # it goes on by itself
    context.close()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 375])
def test_accessible_and_no_sideways_scroll(chromium, path, dark, width):
    with offline_page(chromium, path, width=width, height=800, dark=dark) as (shown, _, problems):
        shown.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        focus(shown)
        press(shown, "ArrowRight", "a")
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert serious_findings(shown) == []
        assert problems == []
