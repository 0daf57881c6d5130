// The sounds of a row run side by side on one clock and one of them is heard: changing the clip is a cross-fade, so it
// keeps its place and leaves no gap. Where Web Audio is missing, the page's own players take turns instead.

const FADE = 0.01; // seconds of a cross-fade
const AHEAD = 0.02; // seconds between asking for a sound and its first sample
const KEPT = 4; // rows whose decoded sounds stay in memory
const PEAK = 0.99; // of a sound whose matched level is taken back

// One row: where its sounds come from, which is chosen, where it stands, what it repeats.
class Track {
  constructor(players, gains, seconds) {
    this.players = players; // the audio elements
    this.gains = gains; // dB that matching has added to each
    this.seconds = Math.max(0, ...seconds);
    this.chosen = 0;
    this.at = 0;
    this.loop = null; // [first, last] second
    this.speed = 1;
    this.matched = true;
    this.draw = function () {};
  }

  within(second) {
    return Math.min(Math.max(second, 0), this.seconds || second);
  }

  // Sounds at the row's speed, all of one length.
  async buffers(context) {
    this.decoding ??= this.decode(context);
    try {
      await this.decoding;
    } catch (problem) {
      this.decoding = null;
      throw problem;
    }
    if (this.made !== this.speed) {
      this.played = this.sounds.map((sound) => stretched(context, sound, this.speed));
      this.made = this.speed;
    }
    return this.played;
  }

  async decode(context) {
    const sounds = await Promise.all(this.players.map(async (one) => context.decodeAudioData(await bytes(one.src))));
    const length = Math.max(...sounds.map((sound) => sound.length));
    this.sounds = sounds.map((sound) => padded(context, sound, length));
    this.peaks = [];
    this.seconds = length / context.sampleRate;
  }

  forget() {
    this.decoding = this.sounds = this.played = this.made = null;
  }

  // What a clip is multiplied with: nothing where levels are matched, else what matching did is taken back.
  gain(index) {
    if (this.matched) return 1;
    this.peaks[index] ??= this.sounds[index].getChannelData(0).reduce((most, x) => Math.max(most, Math.abs(x)), 1e-6);
    return Math.min(10 ** (-this.gains[index] / 20), PEAK / this.peaks[index]);
  }
}

async function bytes(address) {
  if (!address.startsWith("data:")) {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error("the sound is not there");
    return answer.arrayBuffer();
  }
  const text = atob(address.slice(address.indexOf(",") + 1));
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0)).buffer;
}

function padded(context, sound, length) {
  if (sound.length === length && sound.numberOfChannels === 1) return sound;
  const made = context.createBuffer(1, length, sound.sampleRate);
  made.copyToChannel(sound.getChannelData(0), 0);
  return made;
}

// A sound played faster or slower at its own pitch: pieces of 40 ms are laid over each other, each taken from where it
// continues the last one best (WSOLA, Verhelst & Roelands 1993, doi:10.1109/ICASSP.1993.319366).
function stretched(context, sound, speed) {
  if (speed === 1) return sound;
  const rate = sound.sampleRate, given = sound.getChannelData(0), length = Math.round(given.length / speed);
  const hop = Math.round(0.02 * rate), size = 2 * hop, reach = Math.round(0.008 * rate);
  const made = new Float32Array(length + size), last = given.length - size - 1;
  const fade = Float32Array.from({ length: size }, (_, i) => Math.sin((Math.PI * (i + 0.5)) / size) ** 2);
  let from = 0;
  for (let to = 0; to < length; to += hop) {
    if (to > 0 && last > 0) from = alike(given, Math.min(from + hop, last), Math.round(to * speed), reach, hop, last);
    for (let i = 0; i < size && from + i < given.length; i++) made[to + i] += given[from + i] * (to === 0 && i < hop ? 1 : fade[i]);
  }
  const buffer = context.createBuffer(1, length, rate);
  buffer.copyToChannel(made.subarray(0, length), 0);
  return buffer;
}

// Where around `wanted` the sound is most like what follows the last piece: looked for roughly, then sample by sample.
function alike(sound, pattern, wanted, reach, size, last) {
  let best = Infinity, found = Math.min(Math.max(wanted, 0), last);
  const look = (first, end, step, every) => {
    for (let at = Math.max(0, first); at <= Math.min(last, end); at += step) {
      let apart = 0;
      for (let i = 0; i < size && apart < best; i += every) apart += Math.abs(sound[at + i] - sound[pattern + i]);
      if (apart < best) [best, found] = [apart, at];
    }
  };
  look(wanted - reach, wanted + reach, 4, 8);
  const near = found;
  best = Infinity;
  look(near - 3, near + 3, 1, 4);
  return found;
}

class Player {
  constructor() {
    this.turn = 0;
    this.running = null;
    this.recent = [];
  }

  open() {
    if (!this.context) {
      this.context = new AudioContext({ latencyHint: "interactive" });
      this.output = this.context.createGain();
      this.output.connect(this.context.destination);
    }
    return this.context;
  }

  // Start a row, or start it anew where it stands now.
  async play(track) {
    if (this.running && this.running.track !== track) this.pause();
    const turn = ++this.turn, context = this.open();
    context.resume();
    const buffers = await track.buffers(context);
    if (turn !== this.turn) return; // something else was asked for meanwhile
    this.keep(track);
    let { at, loop, speed } = track;
    if (at >= track.seconds - 0.005) at = 0;
    if (loop && (at < loop[0] || at >= loop[1])) at = loop[0];
    const begin = context.currentTime + AHEAD, bus = context.createGain();
    this.silence(begin);
    bus.gain.setValueAtTime(0, begin);
    bus.gain.linearRampToValueAtTime(1, begin + FADE);
    bus.connect(this.output);
    const voices = buffers.map((buffer, i) => {
      const source = context.createBufferSource(), gain = context.createGain();
      source.buffer = buffer;
      if (loop) Object.assign(source, { loop: true, loopStart: loop[0] / speed, loopEnd: loop[1] / speed });
      gain.gain.value = i === track.chosen ? track.gain(i) : 0;
      source.connect(gain).connect(bus);
      source.start(begin, at / speed);
      return { source, gain: gain.gain };
    });
    this.running = { track, begin, at, loop, speed, bus, voices };
    this.follow();
  }

  pause() {
    this.turn++;
    if (!this.running) return;
    const { track } = this.running;
    track.at = this.position();
    this.silence(this.context.currentTime);
    this.running = null;
    track.draw();
  }

  // The chosen clip of the running row is heard from now on, the others are not.
  choose() {
    const { track, voices } = this.running, now = this.context.currentTime;
    voices.forEach(({ gain }, i) => {
      const value = gain.value;
      gain.cancelScheduledValues(now);
      gain.setValueAtTime(value, now);
      gain.linearRampToValueAtTime(i === track.chosen ? track.gain(i) : 0, now + FADE);
    });
  }

  // The second of the row that leaves the loudspeaker now.
  position() {
    const { begin, at, loop, speed, track } = this.running;
    const second = at + Math.max(0, this.clock() - begin) * speed;
    if (loop) return second < loop[1] ? second : loop[0] + ((second - loop[0]) % (loop[1] - loop[0]));
    return Math.min(second, track.seconds);
  }

  clock() {
    const { context } = this, stamp = context.getOutputTimestamp ? context.getOutputTimestamp() : {};
    const now = context.currentTime, late = context.outputLatency || 0;
    if (!(stamp.performanceTime > 0)) return now - late;
    const heard = stamp.contextTime + (performance.now() - stamp.performanceTime) / 1000;
    return heard > now || heard < now - late - 0.25 ? now - late : heard; // a stamp that is too old says nothing
  }

  follow() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      if (!this.running) return;
      const { track, loop } = this.running;
      track.at = this.position();
      if (!loop && track.at >= track.seconds) {
        this.pause();
        track.at = 0;
      } else this.follow();
      track.draw();
    });
  }

  silence(when) {
    if (!this.running) return;
    const { bus, voices } = this.running;
    bus.gain.cancelScheduledValues(when);
    bus.gain.setValueAtTime(1, when);
    bus.gain.linearRampToValueAtTime(0, when + FADE);
    voices.forEach(({ source }) => source.stop(when + 2 * FADE));
    voices[0].source.onended = () => bus.disconnect();
  }

  keep(track) {
    this.recent = [track, ...this.recent.filter((one) => one !== track)];
    this.recent.splice(KEPT).forEach((one) => one.forget());
  }
}

// The same with the page's own players, one after the other: a change of clip is heard as a short break.
class PlainPlayer {
  constructor() {
    this.running = null;
  }

  async play(track) {
    if (this.running && this.running.track !== track) this.pause();
    const audio = track.players[track.chosen];
    track.players.forEach((other) => other !== audio && other.pause());
    if (Math.abs(audio.currentTime - track.at) > 0.02) audio.currentTime = track.at;
    Object.assign(audio, { playbackRate: track.speed, preservesPitch: true });
    this.running = { track, audio };
    await audio.play();
    this.follow();
  }

  pause() {
    if (!this.running) return;
    const { track, audio } = this.running;
    track.at = audio.currentTime;
    audio.pause();
    this.running = null;
    track.draw();
  }

  choose() {
    this.running.track.at = this.running.audio.currentTime;
    return this.play(this.running.track);
  }

  position() {
    return this.running.audio.currentTime;
  }

  follow() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      if (!this.running) return;
      const { track, audio } = this.running;
      if (track.loop && audio.currentTime >= track.loop[1]) audio.currentTime = track.loop[0];
      track.at = audio.currentTime;
      if (audio.duration) track.seconds = audio.duration;
      if (audio.ended) track.at = 0;
      if (audio.ended || audio.paused) this.running = null;
      else this.follow();
      track.draw();
    });
  }
}
