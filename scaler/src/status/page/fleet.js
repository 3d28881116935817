"use strict";

// The fleet as it is now: from /api/status, and again from /api/events after each tick.

let status = null;

function fleet() {
  const chosen = by("fleet").value;
  return status.fleets.find((one) => one.fleet === chosen) || status.fleets[0];
}

function showChoice() {
  const names = status.fleets.map((one) => one.fleet);
  const select = by("fleet");
  if (Array.from(select.options, (option) => option.value).join() !== names.join()) {
    select.replaceChildren(...names.map((name) => element("option", name, { value: name })));
  }
  select.parentElement.hidden = names.length < 2;
}

function sizeInWords(view) {
  const workers = (n) => n === 1 ? "1 worker" : `${n} workers`;
  const serves = view.serving === 1 ? "serves" : "serve";
  const boots = view.booting ? `, ${view.booting} more ${view.booting === 1 ? "boots" : "boot"}` : "";
  return `${workers(view.serving)} ${serves}${boots}; ${view.need} needed, ${view.min} to ${view.max} allowed`;
}

// What holds the fleet back has a list of its own.
function withoutHolds({ reason, holds }) {
  return holds.reduce((text, hold) => text.replace(`; ${hold}`, "").replace(`${hold}; `, ""), reason);
}

function showNow(view) {
  setText(by("size"), sizeInWords(view));
  setText(by("reason"), withoutHolds(view));
  const held = view.held_until != null;
  by("held").hidden = !held;
  setText(by("held"), held ? `${view.order || "held by hand"}, until ${time(view.held_until)}` : "");
  const holds = view.holds.map((hold) => element("li", hold));
  if (Array.from(by("holds").children, (item) => item.textContent).join("\n") !== view.holds.join("\n")) by("holds").replaceChildren(...holds);
  const late = view.slo_ms != null && view.p95_ms > view.slo_ms;
  showFigures([
    ["Workers serving", view.serving], ["Workers needed", view.need], ["In the queue", view.waiting], ["At workers", view.in_flight],
    ["Oldest wait", duration(view.oldest_waiting_ms)], ["Requests/s", count(view.per_s)],
    ["p50", duration(view.p50_ms)], ["p95", duration(view.p95_ms), late], ["p99", duration(view.p99_ms)], ["SLO", duration(view.slo_ms)],
    ["Cost per hour", money(view.cost_per_hour)], ["Cost so far", money(view.cost_total)],
  ]);
}

function showFigures(figures) {
  const list = by("figures");
  if (list.children.length !== figures.length) {
    list.replaceChildren(...figures.map(([name]) => {
      const pair = element("div");
      pair.append(element("dt", name), element("dd"));
      return pair;
    }));
  }
  figures.forEach(([, value, bad], at) => {
    setText(list.children[at].lastChild, String(value));
    list.children[at].classList.toggle("bad", Boolean(bad));
  });
}

function makeWorkerRow(worker) {
  const row = cells(7, true)();
  row.cells[1].append(element("span", "", { class: "state" }));
  const bar = element("div", null, { class: "bar", role: "img" });
  bar.append(element("span"));
  row.cells[3].append(bar);
  const button = element("button", "Drain", { type: "button" });
  button.addEventListener("click", () => orderWorker(worker.id, button.dataset.order));
  row.cells[6].append(button);
  return row;
}

function fillWorkerRow(row, worker) {
  const share = worker.slots ? Math.round(100 * worker.busy / worker.slots) : 0;
  const heartbeat = worker.heartbeat_age_ms == null ? "none yet" : `${duration(worker.heartbeat_age_ms)} ago`;
  fillCells(row, [worker.id, null, worker.slots ? `${worker.busy} of ${worker.slots}` : none, null, heartbeat, duration(fleet().at - worker.launched)]);
  const state = row.cells[1].firstChild;
  setText(state, worker.state);
  state.dataset.state = worker.state;
  const bar = row.cells[3].firstChild;
  bar.firstChild.style.width = `${Math.min(share, 100)}%`;
  bar.setAttribute("aria-label", `load ${share} %`);
  const button = row.cells[6].firstChild;
  const draining = worker.state === "draining";
  button.dataset.order = draining ? "undrain" : "drain";
  setText(button, draining ? "Take back" : "Drain");
  button.setAttribute("aria-label", `${button.textContent} ${worker.id}`);
  button.disabled = !["draining", "serving", "booting"].includes(worker.state);
}

function showWorkers(view) {
  showRows(by("workers"), view.workers, (worker) => worker.id, makeWorkerRow, fillWorkerRow, "no workers");
  const silent = view.proxies.filter((proxy) => !proxy.up).map((proxy) => proxy.address);
  const answered = `${view.proxies.length - silent.length} of ${view.proxies.length} proxies answer`;
  setText(by("proxies"), silent.length ? `${answered}; silent: ${silent.join(", ")}` : answered);
}

function showQueues(view) {
  const rows = [...view.queues, ...batchLinesAsQueue(status)];
  const whole = (value) => value == null ? none : String(value);
  showRows(by("queues"), rows, (queue) => `${queue.model} ${queue.class}`, cells(9, true), (row, queue) => fillCells(row, [
    queue.model, queue.class || none, String(queue.waiting), duration(queue.oldest_waiting_ms), whole(queue.in_flight),
    whole(queue.arrivals_total), whole(queue.answered_total), whole(queue.refused_total),
    queue.failed_total == null ? none : String(queue.failed_total + queue.aborted_total),
  ]), "no requests yet");
}

function show() {
  if (!status || !status.fleets.length) return;
  showChoice();
  const view = fleet();
  showNow(view);
  showWorkers(view);
  showQueues(view);
  showBatches(status);
}

function showConnection(state, text) {
  by("connection").dataset.state = state;
  setText(by("connection"), text);
}

function follow() {
  const events = new EventSource("api/events");
  events.onmessage = (event) => {
    status = JSON.parse(event.data);
    showConnection("live", `live, version ${status.version}`);
    show();
  };
  events.onerror = () => showConnection("lost", "no connection; retrying");
}
