// What people try from the status page, at real workers of small models: similarity, chat and rerank, with
// lines of curl that do the same.
//
// Run by `make test-page`.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Up, assertAccessible, browse, eventually, open } from "./harness.mjs";

const fixtures = fileURLToPath(new URL("../fixtures", import.meta.url));
const run = promisify(execFile);
let up, browser, page;

const policy = (model, name) => () => `
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
model = '${join(fixtures, model)}'
name = '${name}'
threads = 1
oversubscribe = true
`;

before(async () => {
  up = await Up.start({
    embed: policy("families/mpnet", "embedder"),
    chat: policy("decoders/llama/f32.gguf", "tiny-chat"),
    rank: policy("families/bert-cross-encoder", "reranker"),
  });
  await eventually("all models serve", async () => {
    const { fleets } = await (await fetch(`http://${up.own}/api/status`)).json();
    return fleets.length === 3 && fleets.every((fleet) => fleet.serving === 1);
  });
  browser = await browse();
  page = await open(browser, up);
  await page.locator("#model option", { hasText: "embedder" }).waitFor({ state: "attached" });
});

after(async () => {
  await browser?.close();
  await up?.end();
});

async function curl() {
  const line = await page.locator("#curl").innerText();
  return (await run("sh", ["-c", line])).stdout;
}

test("the fleet that is shown can be chosen", async () => {
  await page.locator("#fleet").selectOption("rank");
  await page.locator("#queues th", { hasText: "reranker" }).waitFor();
  assert.equal(await page.locator("#queues tr").count(), 1);
});

test("two texts are compared", async () => {
  assert.equal(await page.locator("#model").inputValue(), "embedder");
  await page.locator("#first").fill("It's high tide");
  await page.locator("#second").fill("It's high tide");
  await page.locator("#send").click();
  await page.locator("#result .score", { hasText: "1.000" }).waitFor();
  assert.equal(JSON.parse(await curl()).data.length, 2);
  assert.match(await page.locator("#python").innerText(), /OpenAI\(base_url="http:\/\/127/);
});

test("a chat is streamed", async () => {
  await page.locator('input[value="chat"]').check();
  assert.equal(await page.locator("#model").inputValue(), "tiny-chat");
  await page.locator("#send").click();
  await page.locator("#result", { hasText: /[1-9]\d* parts in/ }).waitFor();
  assert.match(await curl(), /^data: \{[^]*data: \[DONE\]/);
});

test("documents are ranked", async () => {
  await page.locator('input[value="rerank"]').check();
  assert.equal(await page.locator("#model").inputValue(), "reranker");
  await page.locator("#send").click();
  await page.locator("#result li").nth(2).waitFor();
  assert.equal(JSON.parse(await curl()).results.length, 3);
});

test("a refusal is shown as it is", async () => {
  await page.locator("#model").selectOption("embedder");
  await page.locator("#send").click();
  await page.locator("#result", { hasText: "refused, 4" }).waitFor();
});

test("only the listed routes are handed on, and only for the page itself", async () => {
  const at = `http://${up.own}/api/try/v1`;
  const post = (route, type) => fetch(`${at}/${route}`, { method: "POST", headers: { "content-type": type }, body: "{}" });
  assert.equal((await post("completions", "application/json")).status, 404);
  assert.equal((await post("../signal", "application/json")).status, 404);
  assert.equal((await post("embeddings", "text/plain")).status, 415);
  assert.equal((await fetch(`${at}/embeddings`)).status, 404);
});

test("axe finds nothing serious", () => assertAccessible(page, "playground"));
