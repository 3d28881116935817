// The batches on the status page, from a real batch service behind the proxy of `up`: the page shows what
// the service's API says, while a batch runs and after it; and says when the service does not answer.
//
// Run by `make test-page`.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Up, assertAccessible, bin, browse, eventually, free, open } from "./harness.mjs";

const lines = 240;
let up, browser, page, service, key, batch;

function policy({ directory }) {
  mkdirSync(join(directory, "timed"));
  const made = execFileSync(join(bin, "tidegate-proxy"), ["key", "shop"], { encoding: "utf8" });
  const [[secret], [line]] = [made.match(/tg-\S+/), made.match(/[0-9a-f]{64} .*/)];
  key = secret;
  writeFileSync(join(directory, "keys"), `${line}\n`, { mode: 0o600 });
  writeFileSync(join(directory, "batch.toml"), `[clients]\napi_keys_file = '${directory}/keys'\n`);
  return `
[fleet]
kind = "process"
min = 1
max = 1
[slo]
latency = "10s"
[[signal]]
name = "requests"
metric = "concurrency"
statistic = "max"
window = "5s"
target_per_worker = 8
[process]
model = '${directory}/timed'
binary = '${bin}/timed-worker'
oversubscribe = true
`;
}

const ask = async (address, route, options) => {
  const answer = await fetch(`http://${address}${route}`, { ...options, headers: { authorization: `Bearer ${key}`, ...options?.headers } });
  assert.equal(answer.status, 200, await answer.clone().text());
  return answer.json();
};
const status = async () => (await (await fetch(`http://${up.own}/api/status`)).json()).batches;
const cells = () => page.locator("#batches tr").first().locator("th, td").allInnerTexts();

async function send() {
  const input = Array.from({ length: lines }, (_, at) => JSON.stringify({
    custom_id: String(at), method: "POST", url: "/v1/embeddings", body: { model: "timed", service_ms: 80 },
  })).join("\n");
  const form = new FormData();
  form.append("purpose", "batch");
  form.append("file", new Blob([input]), "in.jsonl");
  const file = await ask(up.clients, "/v1/files", { method: "POST", body: form });
  const body = JSON.stringify({ input_file_id: file.id, endpoint: "/v1/embeddings", completion_window: "24h" });
  return ask(up.clients, "/v1/batches", { method: "POST", body, headers: { "content-type": "application/json" } });
}

/** The process of the batch service, by its name among the scaler's children. */
function processOfService() {
  const { pid } = up.scaler;
  const children = execFileSync("ps", ["-o", "pid=,comm=", "--ppid", String(pid)], { encoding: "utf8" });
  return Number(children.split("\n").find((line) => line.includes("tidegate-batch")).trim().split(" ")[0]);
}

before(async () => {
  service = await free();
  up = await Up.start({ up: policy }, {}, ({ directory }) => `
[up.batch]
listen = '${service}'
config = '${directory}/batch.toml'
store = '${directory}/batches'
`);
  await eventually("clients are answered", async () => (await up.post("/v1/embeddings", { service_ms: 0 })).ok);
  browser = await browse();
  page = await open(browser, up);
});

after(async () => {
  await browser?.close();
  await up?.end();
});

test("without batches the page says so", async () => {
  await page.locator("#batches", { hasText: "no batches" }).waitFor();
  await page.locator("#batch-service", { hasText: "0 lines wait at the batch service, 0 are at the proxy" }).waitFor();
});

test("a running batch is shown with its progress", async () => {
  batch = await send();
  const running = await eventually("rate and time left are shown", async () => {
    const shown = await cells();
    return shown[0] === batch.id && /^\d/.test(shown[6]) && /^\d/.test(shown[7]) && shown;
  });
  assert.deepEqual([running[1], running[2], running[4]], ["/v1/embeddings timed", "shop", "in progress"]);
  assert.match(running[3], new RegExp(`^\\d+ of ${lines}$`));
  const waiting = page.locator("#queues tr", { hasText: "batch service" });
  await eventually("its lines stand beside the queue", async () => {
    const { report } = await status();
    const shown = await waiting.locator("th, td").allInnerTexts();
    return shown[1] === "batch" && shown[2] === String(report.lines_waiting) && report.lines_waiting > 0;
  });
  await eventually("the page equals the service's answer", async () => {
    const [there] = (await (await fetch(`http://${service}/api/batches`)).json()).batches;
    return (await cells())[3] === `${there.done} of ${there.lines}`;
  });
});

test("a batch that has ended equals the API's", async () => {
  const ended = await eventually("it is completed", async () => {
    const found = await ask(up.clients, `/v1/batches/${batch.id}`);
    return found.status === "completed" && found;
  });
  assert.equal(ended.request_counts.completed, lines);
  await eventually("the page says so", async () => {
    const shown = await cells();
    return shown[4] === "completed" && shown[3] === `${lines} of ${lines}` && shown[6] === "–";
  });
  const { up: answers, report } = await status();
  const [there] = report.batches;
  assert.ok(answers);
  assert.deepEqual([there.id, there.done, there.failed, there.lines, there.key], [ended.id, lines, 0, lines, "shop"]);
  assert.equal(await page.locator("#queues tr", { hasText: "batch service" }).count(), 0);
});

test("axe finds nothing serious", () => assertAccessible(page, "batches"));

test("a batch service that does not answer is said to", async () => {
  const pid = processOfService();
  process.kill(pid, "SIGSTOP");
  try {
    await page.locator("#batch-service", { hasText: `The batch service at http://${service} does not answer: no answer within 2s` }).waitFor();
    await page.locator("#batches", { hasText: "not known" }).waitFor();
    const { up: answers, report } = await status();
    assert.deepEqual([answers, report], [false, null]);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await page.locator("#batches", { hasText: batch.id }).waitFor();
  assert.deepEqual(page.complaints, []);
});

test("nobody reads who sent what: keys and contents are in no answer", async () => {
  const text = await (await fetch(`http://${up.own}/api/status`)).text();
  const keys = readFileSync(join(up.directory, "keys"), "utf8");
  for (const secret of [key, keys.slice(0, 32), "service_ms"]) assert.ok(!text.includes(secret));
});
