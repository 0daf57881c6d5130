// A slider over clips: one is shown at a time, under the value that it stands for.
(function () {
  "use strict";
  function start(box) {
    const cells = [...box.querySelectorAll("[data-value]")], bar = box.querySelector("label");
    const range = bar.querySelector("input"), text = bar.querySelector("output");
    function follow() {
      cells.forEach(function (one, i) {
        one.hidden = i !== Number(range.value);
        if (one.hidden) one.querySelector("audio").pause();
      });
      text.textContent = cells[range.value].dataset.value;
    }
    box.dataset.ready = "";
    bar.hidden = false;
    range.addEventListener("input", follow);
    follow();
  }

  // Those that are there, and those that a page has further down.
  function all() {
    document.querySelectorAll(".eegviz-chooser:not([data-ready])").forEach(start);
  }
  all();
  document.addEventListener("DOMContentLoaded", all);
})();
