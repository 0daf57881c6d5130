// The rows of a grid and their cells: pictures with a cursor, buttons, a slider, a loop.

const number = (text) => (text === undefined || text === "" ? null : Number(text));
const order = new Intl.Collator(undefined, { numeric: true }).compare;

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  node.append(...children);
  return node;
}

function button(text, attributes, act) {
  const node = make("button", { type: "button", ...attributes }, text);
  node.addEventListener("click", act);
  return node;
}

function selection(label, options, act) {
  const box = make("select", { "aria-label": label }, ...options.map(([value, text]) => make("option", { value }, text)));
  box.addEventListener("change", () => act(box.value));
  return [make("label", {}, make("span", {}, label), box), box];
}

// One clip of a row: its picture with cursor, its button, its lines of text.
class Cell {
  constructor(row, figure, index) {
    Object.assign(this, { row, figure, index, audio: figure.querySelector("audio"), picture: figure.querySelector(".eg-picture") });
    const { song, listener, condition, score, chance, gain, seconds, file } = figure.dataset;
    Object.assign(this, { song, listener, condition, score: number(score), chance: number(chance), gain: number(gain) || 0 });
    this.seconds = number(seconds) || 0;
    this.name = figure.querySelector(".eg-name").textContent;
    this.level = figure.querySelector(".eg-gain");
    this.levelText = this.level && this.level.textContent;
    this.kept = !listener && !condition && this.score === null; // the original: no filter takes it away
    this.sign = make("span", { class: "eg-sign", "aria-hidden": "true" });
    this.digit = make("kbd", { "aria-hidden": "true" });
    this.button = button("", { class: "eg-choose" }, () => row.press(this));
    this.button.append(this.sign, make("span", { class: "eg-name" }, this.name), this.digit);
    const save = make("a", { class: "eg-save", href: this.audio.getAttribute("src"), download: file, "aria-label": `Download ${file}`, title: this.gain ? `${file}, at the matched level` : file }, "↓ OGG");
    this.picture.append(make("span", { class: "eg-region" }), make("span", { class: "eg-cursor" }));
    this.picture.after(make("div", { class: "eg-head" }, this.button, save));
    if (this.score >= 0 && this.score <= 1 && this.score !== null) this.addMeter();
    this.picture.addEventListener("pointerdown", (event) => this.drag(event));
  }

  // The score as a bar, with a mark at chance; the text below says both.
  addMeter() {
    const style = `--score:${this.score}` + (this.chance === null ? "" : `;--chance:${this.chance};--known:block`);
    this.figure.querySelector(".eg-head").after(make("span", { class: "eg-meter", "aria-hidden": "true", style }));
  }

  measure() {
    this.figure.style.setProperty("--len", this.seconds || this.row.track.seconds || 1);
  }

  second(event) {
    const box = this.picture.getBoundingClientRect();
    const share = Math.min(Math.max((event.clientX - box.left) / box.width, 0), 1);
    return share * (this.seconds || this.row.track.seconds);
  }

  // A click goes there; a way of more than six pixels marks a loop.
  drag(event) {
    if (event.button !== 0) return;
    const { row, picture } = this, start = this.second(event), x = event.clientX;
    const controller = new AbortController(), { signal } = controller;
    const far = (later) => Math.abs(later.clientX - x) > 6;
    picture.setPointerCapture(event.pointerId);
    row.focus();
    picture.addEventListener("pointermove", (later) => far(later) && row.mark(start, this.second(later)), { signal });
    picture.addEventListener("pointerup", (later) => {
      controller.abort();
      if (far(later)) return row.repeat(start, this.second(later));
      row.choose(this);
      return row.seek(start);
    }, { signal });
    picture.addEventListener("pointercancel", () => {
      controller.abort();
      row.show();
    }, { signal });
  }

  draw(chosen, playing, matched) {
    const here = chosen && playing;
    this.figure.classList.toggle("eg-chosen", chosen);
    this.figure.classList.toggle("eg-here", here);
    this.button.setAttribute("aria-pressed", String(chosen));
    this.button.setAttribute("aria-label", `${here ? "Pause" : chosen || !playing ? "Play" : "Change to"} ${this.name}, ${this.row.label}`);
    if (this.level) this.level.textContent = matched ? this.levelText : "level as reconstructed";
  }
}

// One row: its cells share a track, a cursor and a loop.
class Row {
  constructor(grid, node, index) {
    Object.assign(this, { grid, node, index, box: node.querySelector(".eg-cells"), label: node.getAttribute("aria-label") });
    this.cells = [...node.querySelectorAll("figure")].map((figure, i) => new Cell(this, figure, i));
    this.track = new Track(...["audio", "gain", "seconds"].map((what) => this.cells.map((cell) => cell[what])));
    this.track.draw = () => this.show();
    this.shown = this.cells;
    this.range = make("input", { type: "range", min: 0, step: 0.01, value: 0, "aria-label": `Position, ${this.label}` });
    this.range.addEventListener("input", () => this.seek(Number(this.range.value)));
    this.time = make("span", { class: "eg-time" });
    this.clear = button("clear", { "aria-label": `Clear the loop, ${this.label}` }, () => this.repeat(null));
    const loops = ["a", "b"].map((end) => button(end, { "aria-label": `Loop ${end === "a" ? "begins" : "ends"} here, ${this.label}`, title: `Loop ${end === "a" ? "begins" : "ends"} here (${end})` }, () => this.bound(end)));
    const bar = make("div", { class: "eg-run" }, this.range, this.time, make("span", { class: "eg-loops" }, "loop ", ...loops, this.clear));
    this.box.before(bar);
    node.tabIndex = 0;
    node.addEventListener("focusin", () => grid.goTo(this));
    this.show();
  }

  get playing() {
    return Boolean(this.player.running) && this.player.running.track === this.track;
  }

  get player() {
    return this.grid.player;
  }

  focus() {
    this.node.focus({ preventScroll: true });
  }

  async start() {
    this.grid.goTo(this);
    Object.assign(this.track, { speed: this.grid.speed, matched: this.grid.matched });
    try {
      await this.player.play(this.track);
    } catch (problem) {
      if (this.grid.fail(problem)) return this.start();
    }
    return this.show();
  }

  toggle() {
    if (!this.playing) return this.start();
    this.player.pause();
    return this.grid.tell();
  }

  press(cell) {
    const same = this.cells[this.track.chosen] === cell;
    if (this.playing && same) return this.toggle();
    this.choose(cell);
    return this.playing ? undefined : this.start();
  }

  choose(cell) {
    if (!cell) return;
    this.track.chosen = cell.index;
    if (this.playing) this.player.choose();
    this.show();
    this.grid.tell();
  }

  seek(second) {
    this.track.at = this.track.within(second);
    if (this.playing) this.start();
    this.show();
    this.grid.tell();
  }

  step(seconds) {
    this.seek(this.here + seconds);
  }

  get here() {
    return this.playing ? this.player.position() : this.track.at;
  }

  // One end of the loop at the place that is heard; the other end is the old one, or that of the row.
  bound(end) {
    const [first, last] = this.track.loop || [0, this.track.seconds];
    this.repeat(...(end === "a" ? [this.here, last > this.here ? last : this.track.seconds] : [first < this.here ? first : 0, this.here]));
  }

  // Loop from one second to another, in either order; null: no loop.
  repeat(first, second) {
    this.track.at = this.here;
    const [a, b] = first === null ? [0, 0] : [first, second].map((one) => this.track.within(one)).sort((x, y) => x - y);
    this.track.loop = b - a >= 0.05 ? [a, b] : null;
    if (this.playing) this.start();
    this.show();
    this.grid.tell();
  }

  mark(first, second) {
    this.node.classList.add("eg-looping");
    this.node.style.setProperty("--a", Math.min(first, second));
    this.node.style.setProperty("--b", Math.max(first, second));
  }

  // Cursor, time, loop and buttons as the track has them now.
  show() {
    const { at, seconds, loop, chosen } = this.track, playing = Boolean(this.grid.ready && this.playing);
    this.node.style.setProperty("--t", at);
    this.node.classList.toggle("eg-looping", Boolean(loop));
    if (loop) this.mark(...loop);
    this.clear.hidden = !loop;
    this.range.max = seconds || 1;
    this.range.value = at;
    const span = loop ? `, loop ${loop[0].toFixed(2)} to ${loop[1].toFixed(2)} s` : "";
    this.time.textContent = `${at.toFixed(1)} / ${seconds.toFixed(1)} s`;
    this.range.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${seconds.toFixed(1)} seconds${span}`);
    const state = [playing, chosen, this.grid.matched, seconds].join();
    if (state === this.state) return;
    this.state = state;
    this.cells.forEach((cell) => {
      cell.measure();
      cell.draw(cell.index === chosen, playing, this.grid.matched);
    });
  }

  // Show and order the cells for what is asked; whether any is left.
  arrange({ song, listener, condition, least, sort }) {
    const fits = (cell) => (!song || cell.song === song) && (cell.kept || (
      (!listener || cell.listener === listener) && (!condition || cell.condition === condition)
      && (least === null || (cell.score !== null && cell.score >= least))));
    const fitting = this.cells.filter(fits);
    const found = fitting.some((cell) => !cell.kept) || (fitting.length > 0 && this.cells.every((cell) => cell.kept));
    this.cells.forEach((cell) => { cell.figure.hidden = !fitting.includes(cell); });
    this.node.hidden = !found;
    if (!found && this.playing) this.player.pause();
    const rest = fitting.filter((cell) => !cell.kept).sort(bySort(sort));
    this.shown = [...fitting.filter((cell) => cell.kept), ...rest];
    const wanted = [...this.shown, ...this.cells.filter((cell) => !fitting.includes(cell))].map((cell) => cell.figure);
    if (wanted.some((figure, i) => figure !== this.box.children[i])) this.box.append(...wanted);
    this.cells.forEach((cell) => { cell.digit.textContent = this.shown.indexOf(cell) + 1; });
    if (found && !fitting.some((cell) => cell.index === this.track.chosen)) this.choose(this.shown[0]);
    this.best = rest[0] || this.shown[0];
    return found ? fitting.length : 0;
  }
}

function bySort(sort) {
  if (!sort) return (one, other) => one.index - other.index;
  if (sort === "score") return (one, other) => (other.score ?? -Infinity) - (one.score ?? -Infinity);
  return (one, other) => order(one[sort] || "\uffff", other[sort] || "\uffff");
}
