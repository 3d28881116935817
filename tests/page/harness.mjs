// What the browser's tests share: `tidegate-scaler up` in a folder of its own, and Debian's Chromium.
//
// TIDEGATE_BIN is where the binaries are, CHROMIUM the browser. With SCREENSHOTS, pictures are kept there.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import axe from "axe-core";
import { chromium } from "playwright-core";

export const bin = process.env.TIDEGATE_BIN;
const patience = 30_000;

export async function free() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((ready) => server.once("listening", ready));
  const { port } = server.address();
  await new Promise((closed) => server.close(closed));
  return `127.0.0.1:${port}`;
}

export async function eventually(what, probe) {
  const until = Date.now() + patience;
  while (Date.now() < until) {
    const found = await Promise.resolve().then(probe).catch(() => false);
    if (found) return found;
    await sleep(100);
  }
  assert.fail(`not within ${patience} ms: ${what}`);
}

/** A fleet, or several, by `up`. Each policy is a text made of the addresses and the folder, and so is `more`. */
export class Up {
  static async start(policies, environment = {}, more = () => "") {
    const up = new Up();
    up.directory = mkdtempSync(join(tmpdir(), "tidegate-page-"));
    up.clients = await free();
    up.admin = await free();
    up.own = await free();
    writeFileSync(join(up.directory, "proxy.toml"), "threads = 1\n");
    const files = Object.entries(policies).map(([name, policy]) => {
      const file = join(up.directory, `${name}.toml`);
      writeFileSync(file, policy(up) + up.addresses() + more(up));
      return ["--config", file];
    });
    const log = openSync(join(up.directory, "scaler.log"), "w");
    up.scaler = spawn(join(bin, "tidegate-scaler"), ["up", ...files.flat()], {
      stdio: ["ignore", log, log], env: { ...process.env, TMPDIR: up.directory, ...environment },
    });
    return up;
  }

  addresses() {
    return `
[scaler]
listen = '${this.own}'
[up]
listen = '${this.clients}'
admin = '${this.admin}'
proxy_config = '${this.directory}/proxy.toml'
`;
  }

  post(route, body) {
    const headers = { "content-type": "application/json" };
    return fetch(`http://${this.clients}${route}`, { method: "POST", headers, body: JSON.stringify(body) });
  }

  async status() {
    return (await (await fetch(`http://${this.own}/api/status`)).json()).fleets[0];
  }

  /** A file of the folder that `up` keeps while it runs. */
  file(name) {
    const run = readdirSync(this.directory).find((entry) => entry.startsWith("tidegate-"));
    return readFileSync(join(this.directory, run, name), "utf8");
  }

  async end() {
    this.scaler.kill("SIGTERM");
    await eventually("the scaler ends", () => this.scaler.exitCode !== null || this.scaler.signalCode !== null);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export function browse() {
  const args = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ];
  return chromium.launch({ executablePath: process.env.CHROMIUM, args });
}

export async function open(browser, up) {
  const page = await browser.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(`http://${up.own}/`);
  await page.locator("#connection", { hasText: "live" }).waitFor();
  page.complaints = complaints;
  return page;
}

/** Nothing that axe calls serious, and nothing wider than the screen, light and dark, on a phone and a desktop. */
export async function assertAccessible(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const viewport of [{ width: 390, height: 844 }, { width: 1280, height: 900 }]) {
      await page.setViewportSize(viewport);
      await page.evaluate(axe.source);
      const found = await page.evaluate(() => globalThis.axe.run());
      const serious = found.violations.filter((one) => ["serious", "critical"].includes(one.impact));
      const where = `${colorScheme}, ${viewport.width} px`;
      assert.deepEqual(serious.map((one) => `${where}: ${one.id}: ${one.nodes[0].html}`), []);
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wider <= 0, `${where}: the page is ${wider} px wider than the screen`);
      if (process.env.SCREENSHOTS) {
        await sleep(300);
        const path = join(process.env.SCREENSHOTS, `${name}-${colorScheme}-${viewport.width}.png`);
        await page.screenshot({ path, fullPage: true });
      }
    }
  }
}
