"use strict";

// What an operator orders: the size of the fleet, or the drain of a worker. Each needs the token.

const note = () => ({ who: by("who").value.trim(), why: by("why").value.trim() });

async function send(path, order) {
  const headers = { authorization: `Bearer ${by("token").value.trim()}`, "content-type": "application/json" };
  try {
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify({ fleet: fleet().fleet, ...note(), ...order }) });
    setText(by("answer"), `${answer.ok ? "" : "refused: "}${await answer.text()}`);
    if (answer.ok) await loadHistory();
  } catch (error) {
    setText(by("answer"), `not sent: ${error.message}`);
  }
}

// The button says what becomes of the size; null gives it back to the policy.
function orderSize(event) {
  event.preventDefault();
  const action = event.submitter ? event.submitter.name : "hold";
  const size = { hold: { workers: Number(by("workers-wanted").value) }, pause: "as_it_is", resume: null }[action];
  return send("override", { size, for_ms: Number(by("hours").value) * 3600e3 });
}

function orderWorker(worker, order) {
  if (!by("token").value) {
    setText(by("answer"), `to ${order} ${worker}, the operator token is needed`);
    by("token").focus();
    return;
  }
  send("override/worker", { worker, order });
}
