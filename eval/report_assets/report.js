// The page works without this: it adds the values under the pointer, and the choice of light or dark.
const short = v => Math.abs(v) >= 1e4 ? (v / 1e3).toPrecision(3) + "k" : String(+v.toPrecision(4));
for (const chart of document.querySelectorAll(".chart")) {
  const { x, series } = JSON.parse(chart.dataset.points), svg = chart.querySelector("svg");
  const cursor = svg.querySelector(".cursor"), tip = chart.appendChild(document.createElement("div"));
  tip.className = "tip";
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    const at = (event.clientX - box.left) * scale;
    const near = series.map(s => [s, s.points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)]);
    const best = near.reduce((a, b) => Math.abs(b[1][0] - at) < Math.abs(a[1][0] - at) ? b : a)[1];
    cursor.setAttribute("x1", best[0]); cursor.setAttribute("x2", best[0]); cursor.style.visibility = "visible";
    const rows = near.filter(([, p]) => Math.abs(p[0] - best[0]) < 8).map(([s, p]) => `${s.name}: ${short(p[3])}`);
    tip.textContent = ""; [`${x} ${short(best[2])}`, ...rows].forEach(t => tip.append(t, document.createElement("br")));
    tip.style.display = "block"; tip.style.top = "0";
    tip.style.left = Math.min(best[0] / scale + 10, box.width - tip.offsetWidth) + "px";
  });
  svg.addEventListener("pointerleave", () => { tip.style.display = "none"; cursor.style.visibility = "hidden"; });
}
const root = document.documentElement, button = document.querySelector("nav button");
const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
button?.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
if (button) name();
