/* Small comforts; the page is whole without them. */
(function () {
  "use strict";
  // The contents start folded where they would push the page down.
  var contents = document.querySelector(".contents details");
  if (contents && !window.matchMedia("(min-width: 72rem)").matches) contents.open = false;

  // Tables and printed columns that are wider than the page say so.
  function tellWidth() {
    document.querySelectorAll(".wider").forEach(function (hint) { hint.remove(); });
    document.querySelectorAll("main .scroll, main pre").forEach(function (box) {
      if (box.scrollWidth <= box.clientWidth + 1) return;
      var hint = document.createElement("p");
      hint.className = "wider";
      hint.textContent = "Goes on to the right: scroll sideways →";
      hint.setAttribute("aria-hidden", "true");
      box.parentNode.insertBefore(hint, box);
    });
  }
  var later;
  tellWidth();
  window.addEventListener("resize", function () { clearTimeout(later); later = setTimeout(tellWidth, 150); });
  document.querySelectorAll("details").forEach(function (one) { one.addEventListener("toggle", tellWidth); });

  // One button opens and folds all code.
  var codes = document.querySelectorAll("details.code");
  if (codes.length > 1) {
    var button = document.createElement("button");
    var open = false;
    button.type = "button";
    button.className = "all-code";
    button.textContent = "Show all code";
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", function () {
      open = !open;
      codes.forEach(function (code) { code.open = open; });
      button.textContent = open ? "Fold all code" : "Show all code";
      button.setAttribute("aria-pressed", String(open));
    });
    codes[0].parentNode.insertBefore(button, codes[0]);
  }
})();
