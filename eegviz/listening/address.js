// The part of the address after # can hold what is heard, as in #listen&8f3a.row=2&8f3a.at=1.25, a key for each grid of
// the page. Any other fragment, such as that of a heading, is read by nobody here and replaced only when a listener acts.

const MARK = "listen";

function addressed() {
  const [mark, ...rest] = location.hash.slice(1).split("&");
  return mark === MARK ? new URLSearchParams(rest.join("&")) : null;
}

// What the address says about the grid `key`: a Map, or null where it says nothing.
function readAddress(key) {
  const own = [...(addressed() || [])].filter(([name]) => name.startsWith(key + "."));
  return own.length ? new Map(own.map(([name, value]) => [name.slice(key.length + 1), value])) : null;
}

function writeAddress(key, state) {
  const ours = addressed(), others = [...(ours || [])].filter(([name]) => !name.startsWith(key + "."));
  const all = new URLSearchParams([...others, ...[...state].map(([name, value]) => [`${key}.${name}`, value])]);
  const hash = `#${MARK}&${all}`;
  if (![...all].length && !ours) return;
  try {
    history.replaceState(history.state, "", [...all].length ? hash : location.pathname + location.search);
  } catch (refused) {
    if (refused.name !== "SecurityError") throw refused; // a page inside another page may have no address of its own
  }
}
