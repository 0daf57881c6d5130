// A section of the app: what stands on top, its controls, a line of news, and the content. The controls are the browser's own
// elements, with names for a screen reader, and keys as everywhere; every text of theirs is set as text. `head`, `note` and
// `body` are markup that the server has escaped.

const WAIT = 60; // milliseconds that a slider rests before its value is sent
const PART = 768 * 1024; // bytes of a file that are sent at a time; the next ones when the server has taken them

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, String(value));
  }
  node.append(...children);
  return node;
}

const plain = (value) => (value instanceof Map ? Object.fromEntries([...value].map(([k, v]) => [k, plain(v)])) : Array.isArray(value) ? value.map(plain) : value && typeof value === "object" ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)])) : value);

// Each kind makes a node and returns [node, put]: `put(value)` shows a value; `send(value)` tells one.
const KINDS = {
  select(field, send) {
    const box = make("select");
    field.options.forEach(([value, text], i) => box.append(make("option", { value: i }, text)));
    box.addEventListener("change", () => send(field.options[Number(box.value)][0]));
    return [make("label", { class: "field" }, make("span", {}, field.label), box), (value) => { box.value = String(field.options.findIndex(([one]) => one === value)); }];
  },
  choice(field, send) {
    const buttons = field.options.map(([value, text]) => {
      const one = make("button", { type: "button" }, text);
      one.addEventListener("click", () => send(value));
      return one;
    });
    const box = make("div", { class: "choice", role: "group", "aria-label": field.label }, ...buttons);
    return [box, (value) => buttons.forEach((one, i) => one.setAttribute("aria-pressed", String(field.options[i][0] === value)))];
  },
  nav(field, send) {
    const buttons = field.options.map(([value, text]) => {
      const one = make("button", { type: "button" }, text);
      one.addEventListener("click", () => send(value));
      return one;
    });
    const list = make("ul", {}, ...buttons.map((one) => make("li", {}, one)));
    return [make("nav", { "aria-label": field.label }, list), (value) => buttons.forEach((one, i) => {
      if (field.options[i][0] === value) {
        one.setAttribute("aria-current", "page");
        requestAnimationFrame(() => { list.scrollLeft = Math.max(0, one.offsetLeft - 40); }); // on a phone, once it is laid out
      } else one.removeAttribute("aria-current");
    })];
  },
  range(field, send) {
    const { min, max, step, unit } = field;
    const box = make("input", { type: "range", min, max, step });
    const told = make("output");
    let later;
    const show = () => {
      told.textContent = `${box.value}${unit ? ` ${unit}` : ""}`;
      box.setAttribute("aria-valuetext", told.textContent);
    };
    box.addEventListener("input", () => {
      show();
      clearTimeout(later);
      later = setTimeout(() => { later = null; send(Number(box.value)); }, WAIT);
    });
    return [make("label", { class: "field range" }, make("span", {}, field.label), box, told), (value) => {
      if (later) return;
      box.value = String(value);
      show();
    }];
  },
  checks(field, send) {
    const boxes = field.options.map(() => make("input", { type: "checkbox" }));
    const chosen = () => field.options.filter((_, i) => boxes[i].checked).map(([value]) => value);
    const limit = () => boxes.forEach((box) => { box.disabled = !box.checked && Boolean(field.most) && chosen().length >= field.most; });
    boxes.forEach((box) => box.addEventListener("change", () => { limit(); send(chosen()); }));
    const lines = field.options.map(([, text], i) => make("label", {}, boxes[i], make("span", {}, text)));
    const list = make("div", { class: "ticks" }, ...lines);
    const group = make("fieldset", {}, make("legend", {}, field.label), list);
    // Those with a tick first, so that all of them are in sight; not while a person sets ticks.
    const arrange = () => list.append(...lines.filter((_, i) => boxes[i].checked), ...lines.filter((_, i) => !boxes[i].checked));
    const place = field.folded ? make("details", { class: "wide", open: Boolean(field.open) }, make("summary", {}, field.folded), group) : group;
    if (field.folded) place.addEventListener("toggle", () => { arrange(); list.scrollTop = 0; });
    return [place, (values) => {
      boxes.forEach((box, i) => { box.checked = values.includes(field.options[i][0]); });
      limit();
      if (!list.contains(list.getRootNode().activeElement)) arrange();
    }];
  },
  tick(field, send) {
    const box = make("input", { type: "checkbox" });
    box.addEventListener("change", () => send(box.checked));
    return [make("label", { class: "tick" }, box, make("span", {}, field.label)), (value) => { box.checked = Boolean(value); }];
  },
  text(field, send) {
    const box = make("input", { type: "text", maxlength: field.most || 200, autocomplete: "off" });
    box.addEventListener("change", () => send(box.value));
    return [make("label", { class: "field" }, make("span", {}, field.label), box), (value) => { box.value = value ?? ""; }];
  },
  number(field, send) {
    const box = make("input", { type: "number", min: field.min, max: field.max, step: field.step });
    box.addEventListener("change", () => box.checkValidity() && send(Number(box.value)));
    return [make("label", { class: "field" }, make("span", {}, `${field.label}${field.unit ? ` (${field.unit})` : ""}`), box), (value) => { box.value = String(value); }];
  },
  file(field, _, __, give) {
    const box = make("input", { type: "file" });
    const told = make("output");
    const take = (file) => file && give(file, (words) => { told.textContent = words; });
    box.addEventListener("change", () => { take(box.files[0]); box.value = ""; });
    const place = make("label", { class: "drop wide" }, make("span", {}, `${field.label}: `, make("u", {}, "choose it"), ", or drop it here"), box, told);
    place.addEventListener("dragover", (event) => { event.preventDefault(); place.classList.add("over"); });
    place.addEventListener("dragleave", () => place.classList.remove("over"));
    place.addEventListener("drop", (event) => { event.preventDefault(); place.classList.remove("over"); take(event.dataTransfer.files[0]); });
    return [place, () => {}];
  },
  plays: () => [make("span", { hidden: true }), () => {}], // nothing to see: how often each sound with a `data-plays` was started
  button(field, _, press) {
    const one = make("button", { type: "button", class: field.main ? "main" : "" }, field.label);
    one.addEventListener("click", () => press(field.name));
    return [one, (value) => { one.disabled = value === false; }];
  },
};

// A control with a line below it that says what it does.
function explained(control, { name, hint }) {
  const told = make("small", { id: `hint-${name}` }, hint);
  (control.matches("label") ? control.querySelector("input, select") : control).setAttribute("aria-describedby", told.id);
  return make("div", { class: "hinted" }, control, told);
}

// A box that is larger than its place says so, above it: a table, a picture, printed columns, a list of ticks.
const BOXES = ".scroll, figure.picture, pre, .ticks";
function tellEnds(box) {
  const rows = box.querySelectorAll("tbody tr").length || box.querySelectorAll("label").length;
  const said = [], { overflowX, overflowY } = getComputedStyle(box);
  if (box.scrollHeight > box.clientHeight + 1 && overflowY !== "visible") said.push(`${rows ? `${rows} rows: scroll` : "Scroll"} down for more ↓`);
  if (box.scrollWidth > box.clientWidth + 1 && overflowX !== "visible") said.push("Goes on to the right: scroll sideways →");
  const there = box.previousElementSibling?.matches(".wider") ? box.previousElementSibling : null;
  if (there && there.textContent === said.join(" · ")) return;
  there?.remove();
  if (said.length) box.before(make("p", { class: "wider", "aria-hidden": "true" }, said.join(" · ")));
}

// Markup → a part of the sheet. Of scripts only those run that say that they want to run once a page (the listening grid's).
function fill(part, markup) {
  part.innerHTML = markup;
  for (const old of part.querySelectorAll("script[data-once]")) {
    const name = old.dataset.once;
    old.remove();
    if (document.head.querySelector(`script[data-once="${CSS.escape(name)}"]`)) continue;
    document.head.append(make("script", { "data-once": name }, old.textContent));
  }
}

export function render({ model, el }) {
  const form = make("form", { class: "controls" });
  const [head, note, body] = ["head", "note", "body"].map((name) => make("div", { class: name }));
  const cancel = make("button", { type: "button", class: "cancel" }, "Cancel");
  const news = make("div", { class: "news" }, note, cancel);
  let puts = {};
  const sizes = new ResizeObserver((entries) => requestAnimationFrame(() => new Set(entries.map(({ target }) => target.closest(BOXES))).forEach((box) => box?.isConnected && tellEnds(box))));
  const measure = () => {
    sizes.disconnect();
    for (const box of el.querySelectorAll(BOXES)) {
      sizes.observe(box);
      if (box.firstElementChild) sizes.observe(box.firstElementChild);
    }
  };
  const values = () => plain(model.values) || {};
  const send = (name) => (value) => { model.values = { ...values(), [name]: value }; };
  const press = (name) => model.send_msg({ pressed: name });
  let sent = null; // the file that is on its way
  const part = async () => {
    const { file, at, say: tell } = sent, end = Math.min(at + PART, file.size);
    const bytes = new Uint8Array(await file.slice(at, end).arrayBuffer());
    let binary = "";
    for (let i = 0; i < bytes.length; i += 8192) binary += String.fromCharCode(...bytes.subarray(i, i + 8192));
    const last = end >= file.size;
    tell(`${file.name}: ${file.size ? Math.round(100 * end / file.size) : 100} %`);
    model.send_msg({ file: { name: file.name, data: btoa(binary), first: at === 0, last } });
    sent = last ? null : { ...sent, at: end };
  };
  const give = (file, tell) => { sent = { file, at: 0, say: tell }; part(); };
  const put = () => {
    const now = values();
    for (const [name, show] of Object.entries(puts)) if (name in now) show(now[name]);
  };
  const build = () => {
    const focused = form.getRootNode().activeElement?.closest?.("[data-name]")?.dataset.name;
    const opened = [...form.querySelectorAll("details.under[open] > summary")].map((one) => one.textContent);
    puts = {};
    const nodes = [], folds = new Map();
    for (const field of plain(model.fields)) {
      const [own, show] = KINDS[field.kind](field, send(field.name), press, give);
      const node = field.hint ? explained(own, field) : own;
      node.dataset.name = field.name;
      puts[field.name] = show;
      if (!field.under) nodes.push(node);
      else {
        if (!folds.has(field.under)) folds.set(field.under, make("div", { class: "controls" }));
        folds.get(field.under).append(node);
      }
    }
    const below = [...folds].map(([words, box]) => make("details", { class: "under wide", open: opened.includes(words) }, make("summary", {}, words), box));
    form.replaceChildren(...nodes, ...below);
    form.hidden = !nodes.length && !below.length;
    put();
    measure();
    const again = focused && form.querySelector(`[data-name="${CSS.escape(focused)}"]`);
    if (again) (again.matches("button") ? again : again.querySelector('[aria-pressed="true"]') || again.querySelector("select, input, button"))?.focus();
  };
  const say = () => {
    note.innerHTML = model.note;
    cancel.hidden = !model.busy;
    news.hidden = !model.note;
    body.setAttribute("aria-busy", String(model.busy));
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  head.addEventListener("play", ({ target }) => { // it does not bubble
    const key = target.dataset.plays, { plays } = values();
    if (key && plays) send("plays")({ ...plays, [key]: (plays[key] || 0) + 1 });
  }, true);
  cancel.addEventListener("click", () => press("cancel"));
  model.on("fields", build);
  model.on("values", put);
  model.on("head", () => fill(head, model.head));
  model.on("body", () => { fill(body, model.body); measure(); });
  model.on("ack", () => sent && part());
  model.on("note", say);
  model.on("busy", say);
  fill(head, model.head);
  build();
  say();
  fill(body, model.body);
  el.append(head, form, news, body);
  measure();
}
