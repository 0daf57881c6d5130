// The element eegviz-grid: players over pictures, one cursor for each row. The page is whole without this script.

const STEP = 0.5; // seconds that an arrow goes; a tenth of it with Shift
const SPEEDS = [0.5, 0.75, 1, 1.25, 1.5];
const SORTS = { "": "as laid out", song: "song", listener: "listener", condition: "condition", score: "score, best first" };
const KEYS = [
  ["Space", "play or pause the row that has the focus"],
  ["1 – 9", "choose the clip of that number; while it plays, at the same place"],
  ["← →", `back and forth by ${STEP} s; with Shift by ${STEP / 10} s`],
  ["↑ ↓", "the row above, the row below"],
  ["Home", "to the start (of the loop, where there is one)"],
  ["a  b", "the loop begins, ends here"],
  ["c", "clear the loop"],
  ["m", "levels matched, or as reconstructed"],
  ["-  +", "slower, faster; the pitch stays"],
  ["?", "this help"],
  ["Mouse", "click on a picture: go there; drag along it: loop what is marked"],
];

class Grid extends HTMLElement {
  connectedCallback() {
    if (document.readyState !== "loading") this.begin();
    else document.addEventListener("DOMContentLoaded", () => this.begin(), { once: true });
  }

  disconnectedCallback() {
    removeEventListener("hashchange", this.listen);
    if (!this.ready) return;
    taken.delete(this.key);
    if (this.rows.some((row) => row.playing)) this.player.pause();
  }

  begin() {
    if (!this.isConnected) return;
    this.listen = () => this.recall();
    addEventListener("hashchange", this.listen);
    this.key = free(this.dataset.key || "grid");
    if (this.ready) return;
    this.player = Grid.player;
    Object.assign(this, { speed: 1, matched: true, filters: { song: "", listener: "", condition: "", least: null, sort: "" } });
    this.rows = [...this.querySelectorAll(".eg-row")].map((node, i) => new Row(this, node, i));
    [this.current] = this.rows;
    this.classList.add("eg-live");
    this.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take "a" and "b" for new cells
    this.querySelectorAll("audio").forEach((audio) => { audio.hidden = this.player instanceof Player; });
    this.addControls();
    this.addEventListener("keydown", (event) => this.onKey(event));
    this.addEventListener("play", (event) => this.adopt(event.target), true);
    this.ready = true;
    if (!(this.player instanceof Player)) this.say("This browser has no Web Audio: plain players, with a short break when the clip changes.");
    this.arrange();
    this.recall(true);
  }

  addControls() {
    this.boxes = {};
    const add = (name, label, options, act) => {
      const [node, box] = selection(label, options, act);
      this.boxes[name] = box;
      return node;
    };
    const cells = this.rows.flatMap((row) => row.cells), parts = [];
    for (const name of ["song", "listener", "condition"]) {
      const values = [...new Set(cells.map((cell) => cell[name]).filter(Boolean))].sort(order);
      if (values.length > 1) parts.push(add(name, name, [["", "all"], ...values.map((one) => [one, one])], (value) => this.filter({ [name]: value })));
    }
    const known = cells.some((cell) => cell.score !== null);
    if (known) parts.push(this.scoreBox());
    const sorts = Object.entries(SORTS).filter(([name]) => !name || this.boxes[name] || (name === "score" && known));
    if (sorts.length > 1) parts.push(add("sort", "sort by", sorts, (value) => this.filter({ sort: value })));
    this.count = make("output", { class: "eg-count" });
    this.fold = make("details", { class: "eg-fold" }, make("summary", {}, "Filter and sort"), make("div", { class: "eg-filters" }, ...parts, this.count));
    const speed = add("speed", "speed", SPEEDS.map((one) => [one, `${one} ×`]), (value) => this.change({ speed: Number(value) }));
    speed.title = "The pitch stays";
    const level = add("level", "loudness", [["matched", "matched"], ["raw", "as reconstructed"]], (value) => this.change({ matched: value === "matched" }));
    level.hidden = !cells.some((cell) => cell.gain);
    const help = button("Keys ?", { class: "eg-help", "aria-haspopup": "dialog" }, () => this.help());
    this.note = make("p", { class: "eg-said", role: "status" });
    const bar = make("div", { class: "eg-bar", role: "group", "aria-label": "Listening" }, speed, level, help);
    if (parts.length && cells.length > 3 && this.rows.length > 1) bar.prepend(this.fold);
    this.rows[0]?.node.before(bar, this.note);
    this.boxes.speed.value = this.speed;
  }

  scoreBox() {
    const box = make("input", { type: "number", step: "0.05", "aria-label": "score at least" });
    box.addEventListener("change", () => this.filter({ least: number(box.value) }));
    this.boxes.least = box;
    return make("label", {}, make("span", {}, "score at least"), box);
  }

  say(text) {
    this.note.textContent = text;
  }

  // Web Audio could not play these sounds: this grid uses the page's players from now on. Whether it is worth another try.
  fail(problem) {
    if (problem.name === "AbortError" || problem.name === "NotAllowedError") return false; // stopped before it began
    if (this.player instanceof PlainPlayer) {
      this.say(`The sound cannot be played here: ${problem.message}.`);
      return false;
    }
    this.player.pause();
    this.player = new PlainPlayer();
    this.querySelectorAll("audio").forEach((audio) => { audio.hidden = false; });
    this.say("The sounds cannot be decoded side by side here: plain players, with a short break when the clip changes.");
    return true;
  }

  // A plain player that was started by its own button takes the row along.
  adopt(audio) {
    const row = this.rows.find((one) => one.cells.some((cell) => cell.audio === audio));
    if (!(this.player instanceof PlainPlayer) || (row.playing && this.player.running.audio === audio)) return;
    row.track.at = row.here;
    row.track.chosen = row.cells.findIndex((cell) => cell.audio === audio);
    row.start();
  }

  goTo(row) {
    this.current = row;
    this.rows.forEach((one) => one.node.classList.toggle("eg-current", one === row));
  }

  change(options) {
    Object.assign(this, options);
    this.rows.forEach((row) => {
      if (row.playing) row.start();
      row.show();
    });
    this.boxes.speed.value = this.speed;
    this.boxes.level.value = this.matched ? "matched" : "raw";
    this.tell();
  }

  filter(options) {
    Object.assign(this.filters, options);
    this.arrange();
    this.tell();
  }

  arrange() {
    const { filters } = this, total = this.rows.reduce((sum, row) => sum + row.cells.length, 0);
    const left = this.rows.reduce((sum, row) => sum + row.arrange(filters), 0);
    const wanted = [...this.rows].sort((one, other) => bySort(filters.sort)(
      { ...one.best, index: one.index }, { ...other.best, index: other.index }));
    const nodes = [...this.querySelectorAll(".eg-row")];
    if (wanted.some((row, i) => row.node !== nodes[i])) nodes.at(-1).after(...wanted.map((row) => row.node)); // the legend stays below
    this.ranked = wanted;
    this.count.textContent = left < total ? `${left} of ${total} clips shown` : "";
    for (const [name, value] of Object.entries(filters)) if (this.boxes[name]) this.boxes[name].value = value ?? "";
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, select, textarea, dialog, [contenteditable]")) return;
    const row = this.current, { key } = event;
    if (key === " " && event.target.closest("button, a, summary")) return; // there the space bar presses it
    const acts = {
      " ": () => row.toggle(), Home: () => row.seek(row.track.loop ? row.track.loop[0] : 0), a: () => row.bound("a"),
      b: () => row.bound("b"), c: () => row.repeat(null), m: () => this.change({ matched: !this.matched }),
      ArrowLeft: () => row.step(event.shiftKey ? -STEP / 10 : -STEP), ArrowRight: () => row.step(event.shiftKey ? STEP / 10 : STEP),
      ArrowUp: () => this.walk(-1), ArrowDown: () => this.walk(1), "-": () => this.faster(-1), "+": () => this.faster(1),
      "?": () => this.help(),
    };
    const act = acts[key] || (/^[1-9]$/.test(key) && (() => row.choose(row.shown[key - 1])));
    if (!act || !row) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  }

  walk(by) {
    const rows = this.ranked.filter((row) => !row.node.hidden), next = rows[rows.indexOf(this.current) + by];
    if (next) next.node.focus();
  }

  faster(by) {
    const speed = SPEEDS[SPEEDS.indexOf(this.speed) + by];
    if (speed) this.change({ speed });
  }

  help() {
    if (!this.dialog) {
      const rows = KEYS.map(([key, text]) => make("tr", {}, make("th", { scope: "row" }, ...key.split("  ").flatMap((one) => [make("kbd", {}, one), " "])), make("td", {}, text)));
      const close = button("Close", { autofocus: "" }, () => this.dialog.close());
      this.dialog = make("dialog", { class: "eg-dialog", "aria-label": "Keys of the listening grid" }, make("p", {}, make("b", {}, "Keys"), " work while a row has the focus."), make("table", {}, make("tbody", {}, ...rows)), close);
      this.append(this.dialog);
    }
    this.dialog.showModal();
  }

  // What is heard and shown, into the address; what is as at first is left out.
  tell() {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      const { current: row, filters } = this, round = (second) => String(Number(second.toFixed(2)));
      const state = { ...filters, least: filters.least ?? "", speed: this.speed === 1 ? "" : this.speed, level: this.matched ? "" : "raw" };
      const { at, chosen, loop } = row.track;
      if (at || chosen || loop || row.index) Object.assign(state, { row: row.index + 1, clip: chosen + 1, at: round(row.here) });
      if (loop) Object.assign(state, { a: round(loop[0]), b: round(loop[1]) });
      writeAddress(this.key, Object.entries(state).filter(([, value]) => value !== ""));
    }, 120);
  }

  // The grid as the address says, where it says anything of it.
  recall(scroll) {
    const said = readAddress(this.key);
    if (!said || !this.rows.length) return;
    const filters = Object.fromEntries(["song", "listener", "condition", "sort"].map((name) => [name, this.boxes[name] && [...this.boxes[name].options].some((one) => one.value === said.get(name)) ? said.get(name) : ""]));
    const least = number(said.get("least")), speed = Number(said.get("speed"));
    Object.assign(this.filters, filters, { least: Number.isFinite(least) ? least : null });
    this.fold.open = this.fold.open || Object.values(this.filters).some((value) => value !== "" && value !== null);
    this.speed = SPEEDS.includes(speed) ? speed : 1;
    this.matched = said.get("level") !== "raw";
    this.arrange();
    const row = this.rows[Number(said.get("row")) - 1] || this.rows[0], cell = row.cells[Number(said.get("clip")) - 1];
    const [at, a, b] = ["at", "a", "b"].map((name) => Number(said.get(name)) || 0);
    this.goTo(row);
    row.track.loop = b - a >= 0.05 ? [row.track.within(a), row.track.within(b)] : null;
    if (cell) row.choose(cell);
    row.seek(at);
    this.change({});
    if (scroll && said.has("row")) {
      row.node.scrollIntoView({ block: "center" });
      row.focus();
    }
  }
}

Grid.player = typeof window.AudioContext === "function" ? new Player() : new PlainPlayer();
const taken = new Set();

function free(key) {
  let name = key;
  for (let count = 2; taken.has(name); count++) name = `${key}-${count}`;
  taken.add(name);
  return name;
}

customElements.define("eegviz-grid", Grid);
