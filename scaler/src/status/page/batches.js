"use strict";

// The batch service's batches, and how many of its lines wait: from the same status as the fleet.

function makeBatchRow() {
  const row = cells(9, true)();
  const bar = element("div", null, { class: "bar", role: "img" });
  bar.append(element("span"));
  row.cells[5].append(bar);
  row.cells[4].append(element("span", "", { class: "state" }));
  return row;
}

function fillBatchRow(row, batch) {
  const answered = batch.done + batch.failed;
  const share = batch.lines ? Math.floor(100 * answered / batch.lines) : 0;
  const asks = batch.model ? `${batch.endpoint} ${batch.model}` : batch.endpoint;
  const lines = batch.failed ? `${batch.done} of ${batch.lines}, ${batch.failed} failed` : `${batch.done} of ${batch.lines}`;
  fillCells(row, [batch.id, asks, batch.key || none, lines, null, null, count(batch.per_s), duration(batch.left_ms), duration(batch.age_ms)]);
  const state = row.cells[4].firstChild;
  setText(state, batch.status.replace("_", " "));
  state.dataset.state = batch.status;
  const bar = row.cells[5].firstChild;
  bar.firstChild.style.width = `${share}%`;
  bar.setAttribute("aria-label", `${share} % answered`);
}

function batchesInWords({ address, up, why, report }) {
  if (!up) return `The batch service at ${address} does not answer: ${why}`;
  const held = report.held ? "; the proxy takes no more of them now" : "";
  return `${report.lines_waiting} lines wait at the batch service, ${report.lines_in_flight} are at the proxy${held}`;
}

function showBatches({ batches }) {
  by("batches-part").hidden = !batches;
  by("batches-link").hidden = !batches;
  if (!batches) return;
  setText(by("batch-service"), batchesInWords(batches));
  by("batch-service").dataset.state = batches.up ? "up" : "lost";
  const rows = batches.report ? batches.report.batches : [];
  const empty = batches.up ? "no batches" : "not known";
  showRows(by("batches"), rows, (batch) => batch.id, makeBatchRow, fillBatchRow, empty);
}

// Beside the queue's own rows: lines that are not in it yet.
function batchLinesAsQueue({ batches }) {
  const report = batches && batches.report;
  if (!report || !report.oldest_ms && !report.lines_waiting) return [];
  return [{ model: "batch service", class: report.class, waiting: report.lines_waiting, oldest_waiting_ms: report.oldest_ms }];
}
