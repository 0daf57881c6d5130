// The ref-dB tuner without a kernel: a slider that sets the player's volume, a scale that swaps sound and picture, and
// the measures beside the ear as text. What it needs stands in the page as JSON; nothing is fetched, all text is set as text.
(() => {
  "use strict";

  function start(box) {
    const find = (selector) => box.querySelector(selector);
    const data = JSON.parse(find("script.eegviz-tuner-data").textContent);
    const [audio, picture, range, value, note] = ["audio", "img", "input[type=range]", "output", ".eegviz-tuner-note"].map(find);
    const wave = find("svg polygon");
    const scales = [...box.querySelectorAll("input[type=radio]")];
    const cells = [...box.querySelectorAll("dd")];
    let shown = null;

    // The entry of the scale whose setting is nearest: on the power scale every step has one, on the other a few have.
    function nearest(entries, wanted) {
      return entries.reduce((best, one) => (Math.abs(one.ref_db - wanted) < Math.abs(best.ref_db - wanted) ? one : best));
    }

    // The envelope at a gain, cut off at full scale, as the page draws it without a script.
    function draw({ low, high }, gain) {
      const y = (v) => (50 - 48 * Math.max(-1, Math.min(1, (v / 1000) * gain))).toFixed(1);
      const above = high.map((v, i) => `${i},${y(v)}`);
      const below = low.map((v, i) => `${i},${y(v)}`).reverse();
      wave.setAttribute("points", above.concat(below).join(" "));
    }

    function swap(index) {
      if (shown === index) return;
      const { currentTime, paused } = audio;
      const sound = data.sounds[index];
      audio.src = sound.src;
      picture.src = sound.picture;
      picture.alt = sound.alt;
      if (shown !== null) {
        audio.addEventListener("loadedmetadata", () => {
          audio.currentTime = Math.min(currentTime, audio.duration || 0);
          if (!paused) audio.play().catch(() => {});
        }, { once: true });
      }
      shown = index;
    }

    function follow() {
      const chosen = scales.find((one) => one.checked);
      const scale = data.scales[chosen ? chosen.value : "power"];
      const wanted = Number(range.value);
      const entry = nearest(scale.entries, wanted);
      swap(entry.sound);
      draw(data.sounds[entry.sound], entry.gain);
      audio.volume = Math.min(1, Math.max(0, entry.volume));
      wave.ownerSVGElement.setAttribute("aria-label", `Waveform of ${data.title} at ref dB ${entry.ref_db.toFixed(1)}`);
      value.textContent = entry.ref_db.toFixed(1);
      range.setAttribute("aria-valuetext", `${entry.ref_db.toFixed(1)} dB`);
      note.textContent = scale.note + (entry.ref_db === wanted ? "" : ` The nearest of them to ${wanted.toFixed(1)} dB is heard.`);
      entry.text.forEach((text, i) => { cells[i].textContent = text; });
    }

    range.addEventListener("input", follow);
    scales.forEach((one) => one.addEventListener("change", follow));
    box.querySelectorAll("[data-live]").forEach((one) => { one.hidden = false; });
    box.dataset.ready = "yes";
    follow();
  }

  // Those that are there, and those that a page has further down.
  const all = () => document.querySelectorAll(".eegviz-tuner-offline:not([data-ready])").forEach(start);
  all();
  document.addEventListener("DOMContentLoaded", all);
})();
