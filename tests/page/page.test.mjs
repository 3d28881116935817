// The status page in a real browser: what it shows is what the API says, also while the fleet grows;
// its orders act and are in the ledger; it can be used by keyboard; axe finds nothing serious.
//
// Run by `make test-page`.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Up, assertAccessible, bin, browse, eventually, open } from "./harness.mjs";

let up, browser, page;

function policy({ directory }) {
  mkdirSync(join(directory, "timed"));
  return `
[fleet]
kind = "process"
min = 1
max = 8
lead_time = "30s"
[slo]
latency = "2s"
[cost]
price_per_hour = 36
[[signal]]
name = "requests"
metric = "concurrency"
statistic = "mean"
window = "2s"
target_per_worker = 2
[forecast]
[process]
model = '${directory}/timed'
binary = '${bin}/timed-worker'
oversubscribe = true
`;
}

const ask = (serviceMs) => up.post("/v1/embeddings", { service_ms: serviceMs });
const figure = (name) => page.locator("#figures div", { has: page.locator(`dt:text-is("${name}")`) }).locator("dd").innerText();
const row = (id) => page.locator("#workers tr", { has: page.locator(`th:text-is("${id}")`) });
const ledgerLines = (kind) => up.file("ledger.jsonl").split("\n").filter(Boolean).map(JSON.parse).filter((line) => line.kind === kind);

before(async () => {
  up = await Up.start({ up: policy });
  await eventually("clients are answered", async () => (await ask(0)).ok);
  browser = await browse();
  page = await open(browser, up);
});

after(async () => {
  await browser?.close();
  await up?.end();
});

test("the page shows what the API says, while the fleet grows", async () => {
  assert.equal(await figure("SLO"), "2.0 s");
  const load = Promise.all(Array.from({ length: 6 }, () => ask(8000)));
  await eventually("three workers serve", async () => (await up.status()).serving >= 3);
  await eventually("the page shows as many", async () => Number(await figure("Workers serving")) === (await up.status()).serving);
  const ids = (await up.status()).workers.map((worker) => worker.id);
  assert.deepEqual(await page.locator("#workers th").allInnerTexts(), ids);
  await eventually("all requests are shown", async () => {
    const shown = Number(await figure("In the queue")) + Number(await figure("At workers"));
    return shown === 6;
  });
  await eventually("the decision is in the table", async () => /1 → \d/.test(await page.locator("#decisions").innerText()));
  assert.equal(await figure("Cost per hour"), (await up.status()).cost_per_hour.toFixed(2));
  for (const answer of await load) assert.equal(answer.status, 200);
  await eventually("the queue's row counts them", async () => {
    const [queue] = (await up.status()).queues;
    const shown = await page.locator("#queues tr").first().locator("td").allInnerTexts();
    return queue.answered_total >= 7 && shown.includes(String(queue.answered_total));
  });
  await eventually("the latency is shown", async () => (await figure("p99")).endsWith(" s"));
});

test("the plots are drawn, and a mark says its decision", async () => {
  assert.equal(await page.locator(".plot canvas").count(), 4);
  const drawn = await page.locator("#plot-workers canvas").evaluate((canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value) => value > 0);
  });
  assert.ok(drawn);
  await eventually("a decision is near the pointer", async () => {
    const box = await page.locator("#plot-workers .u-over").boundingBox();
    for (let x = 0; x < box.width; x += 8) {
      await page.mouse.move(box.x + x, box.y + box.height / 2);
      if (/\d -> \d workers/.test(await page.locator("#near").innerText())) return true;
    }
    return false;
  });
  await page.locator("summary").click();
  assert.match(await page.locator("#values tr").first().innerText(), /^\d\d:\d\d:\d\d/);
  await page.locator("summary").click();
});

test("an order needs the token, acts, and is in the ledger with who and why", async () => {
  await page.locator("#token").fill("wrong");
  const wanted = (await up.status()).serving + 1;
  await page.locator("#workers-wanted").fill(String(wanted));
  await page.locator('button[name="hold"]').click();
  await page.locator("#answer", { hasText: "refused" }).waitFor();
  await page.locator("#token").fill(up.file("operator.token").trim());
  await page.locator("#who").fill("Ada");
  await page.locator("#why").fill("load test");
  await page.locator('button[name="hold"]').click();
  await page.locator("#answer", { hasText: `held at ${wanted} by hand` }).waitFor();
  await eventually("the fleet is held at it", async () => (await up.status()).serving === wanted);
  await page.locator("#held", { hasText: `held at ${wanted} by hand by Ada: load test, until` }).waitFor();
  await page.locator("#decisions tr", { hasText: `held at ${wanted} by hand by Ada: load test` }).waitFor();
  const [order] = ledgerLines("by_hand");
  assert.deepEqual([order.who, order.why], ["Ada", "load test"]);
  await page.locator('button[name="resume"]').click();
  await page.locator("#held").waitFor({ state: "hidden" });
});

test("a worker drains by hand, is replaced, and one is taken back", async () => {
  await page.locator('button[name="pause"]').click();
  await page.locator("#held", { hasText: "paused" }).waitFor();
  const [first] = (await up.status()).workers.filter((worker) => worker.state === "serving");
  const busy = Promise.all(Array.from({ length: 8 }, () => ask(6000)));
  await eventually("it has work", async () => (await up.status()).workers.find((one) => one.id === first.id).busy > 0);
  await row(first.id).locator("button", { hasText: "Drain" }).click();
  await row(first.id).locator(".state", { hasText: "draining" }).waitFor();
  await row(first.id).locator("button", { hasText: "Take back" }).click();
  await row(first.id).locator(".state", { hasText: "serving" }).waitFor();
  await page.locator('button[name="resume"]').click();
  await row(first.id).locator("button", { hasText: "Drain" }).click();
  for (const answer of await busy) assert.equal(answer.status, 200);
  await eventually("it is gone, and another serves", async () => {
    const { workers, serving } = await up.status();
    return serving >= 1 && workers.every((worker) => worker.id !== first.id);
  });
  const orders = ledgerLines("worker_by_hand").map(({ worker, order, who }) => [worker, order, who]);
  assert.deepEqual(orders, ["drain", "undrain", "drain"].map((order) => [first.id, order, "Ada"]));
});

test("a focused button stays focused while the page lives on", async () => {
  const button = page.locator("#workers button").first();
  await button.focus();
  const { at } = await up.status();
  await eventually("two ticks later", async () => (await up.status()).at >= at + 2000);
  assert.equal(await button.evaluate((one) => one === document.activeElement), true);
  await page.keyboard.press("Tab");
  const name = await page.evaluate(() => document.activeElement.tagName);
  assert.notEqual(name, "BODY");
});

test("axe finds nothing serious", () => assertAccessible(page, "status"));

test("nothing is fetched from elsewhere, and nothing is complained of", async () => {
  const asked = [];
  const other = await browser.newPage();
  other.on("request", (request) => asked.push(new URL(request.url()).host));
  await other.goto(`http://${up.own}/`);
  await other.locator("#connection", { hasText: "live" }).waitFor();
  assert.deepEqual([...new Set(asked)], [up.own]);
  await other.close();
  // The order with a wrong token was refused, which a browser logs.
  assert.deepEqual(page.complaints.filter((text) => !text.includes("401")), []);
});
