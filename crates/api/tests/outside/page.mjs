// The page in a real browser, over real runs: what it shows is what the API says, at every moment that the slider stands at.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

const { REPRISE, REPRISE_TEST_TOOLS, REPRISE_TEST_CHROMIUM } = process.env;
const require = createRequire(join(REPRISE_TEST_TOOLS, "node_modules/"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const work = mkdtempSync(join(tmpdir(), "reprise-page-"));
const nodes = [];
let browser, runs = 0;

/** Starts a node; resolves once it is served. */
async function start(...args) {
  const data = join(work, `data-${runs++}`);
  const child = spawn(REPRISE, ["run", "--backend", "mock", "--prove-apart", "always", "--api", "127.0.0.1:0", "--api-linger", "always", "--data-dir", data, ...args], { stdio: ["ignore", "ignore", "pipe"] });
  nodes.push(child);
  const node = { said: "" };
  node.until = (text) => new Promise((done, fail) => {
    const look = () => node.said.includes(text) && done();
    child.stderr.on("data", look);
    child.on("exit", () => fail(new Error(`it ended before it said ${text}: ${node.said}`)));
    look();
  });
  child.stderr.on("data", (data) => { node.said += data; });
  await node.until("/\n");
  node.url = node.said.match(/watched at (\S+)/)[1];
  return node;
}

/** Opens the page, and collects what must not be: requests elsewhere, errors. */
async function open(url, { width = 1440, height = 1000, dark = false } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: dark ? "dark" : "light", reducedMotion: "reduce" });
  const page = await context.newPage();
  page.faults = [];
  page.on("request", (request) => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) page.faults.push(request.url()); });
  page.on("pageerror", (error) => page.faults.push(error.message));
  page.on("console", (message) => { if (message.type() === "error" && !message.text().includes("401")) page.faults.push(message.text()); });
  await page.goto(url);
  return page;
}

const json = async (url, path) => (await fetch(new URL(path, url))).json();
const at = (history, seq) => history.filter((step) => step.seq <= seq).at(-1)?.state ?? null;

/** What the page must show at a moment, from the API's data: each block's number, standing and statements. */
function expected(chain, seq) {
  const words = { waiting: "waiting", proving: "proving", storing: "storing", proved: "proved", reused: "reused", failed: "failed", dropped: "not needed" };
  const shown = chain.blocks.filter((block) => at(block.standing, seq) !== null).map((block) => {
    const canonical = at(block.standing, seq);
    const back = canonical && block.standing.filter((step) => step.state && step.seq <= seq).length > 1;
    const statements = {};
    for (const placed of block.statements) {
      const state = at(placed.history, seq);
      if (state) statements[`${placed.kind} ${words[state]}`] = (statements[`${placed.kind} ${words[state]}`] ?? 0) + 1;
    }
    return [block.hash, { canonical, back: Boolean(back), statements: Object.entries(statements).sort() }];
  });
  return Object.fromEntries(shown);
}

/** The same, as it is drawn; the columns beyond the edges are not. */
const drawn = (page) => page.evaluate(() => Object.fromEntries([...document.querySelectorAll(".block")].map((element) => {
  const statements = {};
  for (const chip of element.querySelectorAll(".chip:not(.settled)")) {
    const kind = chip.querySelector(".shape").className.split(" ")[1];
    const key = `${kind} ${chip.querySelector(".word").textContent.slice(2)}`;
    statements[key] = (statements[key] ?? 0) + Number(chip.querySelector(".count")?.textContent ?? 1);
  }
  const shown = { canonical: element.classList.contains("canonical"), back: element.classList.contains("back"), statements: Object.entries(statements).sort() };
  // Many silent blocks may be drawn as one.
  return (element.dataset.hashes ?? element.dataset.hash).split(" ").map((hash) => [hash, shown]);
}).flat()));

const painted = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

async function slide(page, index) {
  await page.evaluate((index) => {
    const slider = document.getElementById("slider");
    slider.value = index;
    slider.dispatchEvent(new Event("input"));
  }, index);
  await painted(page);
}

before(async () => {
  browser = await chromium.launch({ executablePath: REPRISE_TEST_CHROMIUM, headless: true, args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"] });
});

after(async () => {
  await browser?.close();
  nodes.forEach((node) => node.kill("SIGINT"));
  rmSync(work, { recursive: true, force: true });
});

describe("the page", () => {
  it("grows with a run and shows its flip, and nothing is proved twice", async () => {
    const node = await start("--mock-cost", "60,90,120");
    const page = await open(node.url);
    await page.waitForSelector("#link.live");
    await page.waitForSelector(".chip.proving");
    await page.waitForFunction(() => document.getElementById("story").textContent.startsWith("Reorg"));
    assert.ok((await page.$$(".block.orphaned")).length > 0, "the fork that was left is still there");
    await page.waitForFunction(() => document.getElementById("story").textContent.startsWith("Flip back"));
    await node.until("the run has ended");
    await page.waitForFunction(() => document.getElementById("link").textContent === "the run has ended");
    await painted(page);
    const status = await json(node.url, "/v1/status");
    assert.equal(await page.textContent("#made"), String(status.counts.proofs));
    assert.equal(await page.textContent("#twice"), "0");
    assert.ok(Number(await page.textContent("#reused")) >= status.counts.reuses);
    assert.deepEqual(page.faults, []);
    node.page = page;

    // Every moment, wide enough for the whole tree.
    const wide = await open(node.url, { width: 2600 });
    await wide.waitForSelector(".block");
    const chain = await json(node.url, "/v1/chain");
    const steps = await wide.evaluate(() => known.steps);
    const last = steps.length - 1;
    let flipped = 0, orphaned = 0, proving = 0;
    for (let index = 0; index <= last; index++) {
      await slide(wide, index);
      const now = await drawn(wide);
      assert.deepEqual(now, expected(chain, steps[index]), `at change ${index + 1} of ${last + 1}`);
      const blocks = Object.values(now);
      flipped = Math.max(flipped, blocks.filter((block) => block.back).length);
      orphaned = Math.max(orphaned, blocks.filter((block) => !block.canonical).length);
      proving += blocks.some((block) => block.statements.some(([name]) => name.includes("proving"))) ? 1 : 0;
    }
    // In the middle of the flip back seven have left, and five have not returned yet.
    assert.deepEqual([flipped, orphaned], [5, 12]);
    assert.ok(proving > 20);
    console.log(`# ${last + 1} moments are what the API says`);
    assert.deepEqual(wide.faults, []);
  });

  it("can be read by everybody, in light and dark, wide and narrow", async () => {
    const node = await start();
    await node.until("the run has ended");
    for (const look of [{}, { dark: true }, { width: 390, height: 844 }, { width: 390, height: 844, dark: true }]) {
      const page = await open(node.url, look);
      await page.waitForSelector(".block");
      for (const index of [0, 40, 70]) {
        await slide(page, index);
        await page.evaluate(axe);
        const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
        const told = violations.map(({ impact, id, nodes }) => `${impact} ${id}: ${nodes.map((node) => node.target).join(", ")}`);
        assert.deepEqual(told, [], JSON.stringify(look));
        assert.ok(passes.length > 30);
      }
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(overflow <= 0, `${JSON.stringify(look)}: the page is ${overflow} pixels wider than the window`);
      assert.deepEqual(page.faults, []);
      await page.context().close();
    }
  });

  it("is used with the keyboard alone", async () => {
    const node = await start();
    await node.until("the run has ended");
    const page = await open(node.url);
    await page.waitForSelector(".block");
    const title = () => page.textContent("#block-title");
    await page.focus("#tree");
    const tip = (await json(node.url, "/v1/status")).tip.checkpoint;
    assert.ok((await page.$$(".block.run")).length > 0, "silent blocks are drawn as one");
    await page.keyboard.press("End");
    await painted(page);
    assert.equal(await title(), `Block ${tip}`);
    // Through the silent ones, which open on the way.
    for (let back = tip; back > 13; back--) await page.keyboard.press("ArrowLeft");
    await painted(page);
    assert.equal(await title(), "Block 13");
    await page.keyboard.press("ArrowDown");
    await painted(page);
    assert.equal(await title(), "Block 13");
    assert.match(await page.textContent("#block"), /orphaned: its proofs are kept/);
    for (let back = 0; back < 7; back++) await page.keyboard.press("ArrowLeft");
    await painted(page);
    assert.equal(await title(), "Block 6", "the fork leads back to where it began");
    const focused = await page.evaluate(() => document.activeElement.textContent);
    assert.match(focused, /block 6 canonical, empty/);
    await page.focus("#back");
    await page.keyboard.press("Enter");
    await painted(page);
    assert.match(await page.textContent("#story"), /Flip back/);
    await page.keyboard.press("Enter");
    await painted(page);
    assert.match(await page.textContent("#story"), /^Reorg/);
    await page.focus("#play");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => shown.live && !shown.playing, undefined, { timeout: 60000 });
    assert.deepEqual(page.faults, []);
  });

  it("asks for the token, and reads nothing without it", async () => {
    const file = join(work, "token");
    writeFileSync(file, "0123456789abcdef0123456789abcdef\n");
    const node = await start("--api-token-file", file);
    const page = await open(node.url);
    await page.waitForSelector("#login:not([hidden])");
    assert.equal((await page.$$(".block")).length, 0);
    await page.fill("#token", "wrong");
    await page.click("#login button");
    await page.waitForFunction(() => document.getElementById("link").textContent === "this is not the token");
    await page.fill("#token", "0123456789abcdef0123456789abcdef");
    await page.click("#login button");
    await page.waitForSelector(".block");
    assert.ok(await page.isHidden("#login"));
  });

  it("opens a row of silent blocks where it is asked to, and keeps it open", async () => {
    const node = await start();
    await node.until("the run has ended");
    // Wide enough for all of them: the columns beyond the edges are not drawn.
    const page = await open(node.url, { width: 2600 });
    await page.waitForSelector(".block.run");
    const before = await drawn(page), count = (await page.$$(".block")).length;
    const hashes = await page.evaluate(() => document.querySelector(".block.run").dataset.hashes.split(" "));
    await page.click(".block.run");
    await painted(page);
    for (const hash of hashes) assert.ok(await page.$(`[data-hash="${hash}"]`), hash);
    assert.equal(await page.evaluate(() => document.activeElement.dataset.hash), hashes[0]);
    await page.keyboard.press("Home");
    await painted(page);
    assert.equal((await page.$$(".block")).length, count - 1 + hashes.length);
    assert.deepEqual(await drawn(page), before);
    assert.deepEqual(page.faults, []);
  });

  it("draws 2,000 blocks within a second, and follows 60 changes a second without falling behind", async () => {
    const node = await start();
    await node.until("the run has ended");
    const [chain, status] = await Promise.all([json(node.url, "/v1/chain"), json(node.url, "/v1/status")]);
    const name = (n) => `blk:${n.toString(16).padStart(64, "0")}`;
    const busy = chain.blocks.find((block) => block.statements.length > 2);
    const block = (n) => ({ ...busy, hash: name(n), parent: name(n - 1), checkpoint: n, fork: 0, empty: n % 3 > 0, settlements: [], statements: n % 3 ? [] : busy.statements.map((placed) => ({ ...placed, history: [{ ...placed.history[0], seq: n }] })), standing: [{ seq: n, at_ms: n, state: true }], changed: n });
    const many = { ...chain, run: "r", seq: 2000, first: 1, blocks: Array.from({ length: 2000 }, (_, index) => block(index + 1)), forks: [{ ...chain.forks[0], to: 2000, blocks: 2000 }], reorgs: [] };
    const at = (n) => ({ ...status, run: "r", seq: n, ended: false, first: Math.max(1, n - 1999), tip: { block: name(n), checkpoint: n, blue_score: n } });
    // The page's own files, and data of this test's: first what there is, then so many changes a second.
    const A_SECOND = 60, CHANGES = 300;
    const answers = { "/v1/chain": many, "/v1/status": at(2000), "/v1/bundles": { items: [], next: null }, "/v1/settlements": { items: [], next: null } };
    let told;
    const begun = new Promise((done) => { told = done; });
    const server = createServer(async (request, response) => {
      const path = new URL(request.url, "http://localhost").pathname;
      if (path === "/v1/events") {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.flushHeaders();
        told(response);
      } else if (answers[path]) {
        response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answers[path]));
      } else {
        const file = await fetch(new URL(path, node.url));
        response.writeHead(file.status, { "content-type": file.headers.get("content-type") }).end(await file.text());
      }
    });
    await new Promise((done) => server.listen(0, "127.0.0.1", done));
    nodes.push({ kill: () => server.closeAllConnections() || server.close() });

    // Time that the page's thread worked, whatever else the machine does.
    const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, reducedMotion: "reduce" });
    const page = await context.newPage();
    const devtools = await context.newCDPSession(page);
    await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
    const worked = async () => (await devtools.send("Performance.getMetrics")).metrics.find(({ name }) => name === "TaskDuration").value;
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.waitForSelector(".block");
    const first = await worked();
    const drawnAt = await page.evaluate(() => performance.getEntriesByName("first-tree")[0].startTime);
    assert.ok((await page.$$(".block")).length < 200, "only what is in sight is drawn");
    assert.ok(await page.$(`[data-hash="${name(2000)}"]`), "the tip is in sight");
    assert.ok(first < 1, `the first picture took ${first} s of work`);

    const stream = await begun, before = await worked();
    const event = (name, data) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
    const since = Date.now();
    for (let n = 2001; n <= 2000 + CHANGES; n++) {
      stream.write(event("block", block(n)) + event("status", at(n)));
      await new Promise((later) => setTimeout(later, Math.max(0, since + ((n - 2000) * 1000) / A_SECOND - Date.now())));
    }
    const sent = Date.now();
    await page.waitForSelector(`[data-hash="${name(2000 + CHANGES)}"]`);
    const behind = Date.now() - sent, work = (await worked()) - before;
    assert.ok(work < CHANGES / A_SECOND, `${work} s of work in ${CHANGES / A_SECOND} s`);
    console.log(`# 2,000 blocks: first drawn ${drawnAt.toFixed(0)} ms after the navigation began, ${(first * 1000).toFixed(0)} ms of work; ${A_SECOND} changes a second: ${((1000 * work) / CHANGES).toFixed(1)} ms of work each, the last was drawn ${behind} ms after it was sent`);
    await context.close();
  });
});
