"use strict";

// Puts the parts together. While no tick has been, there is nothing to show but that.

async function start() {
  status = await (await fetch("api/status")).json();
  if (!status.fleets.length) {
    showConnection("waiting", "waiting for the first tick");
    setTimeout(start, 1000);
    return;
  }
  show();
  makePlots();
  await loadHistory();
  follow();
  setInterval(loadHistory, 5000);
  by("fleet").addEventListener("change", () => { history = null; show(); loadHistory(); });
  by("span").addEventListener("change", showPlots);
  by("orders").addEventListener("submit", orderSize);
  new ResizeObserver(() => {
    for (const plot of plots) plot.setSize({ width: plot.root.parentElement.clientWidth, height: height - 30 });
  }).observe(by("demand"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", makePlots);
  await startPlayground();
}

start();
