// The picture of the page in the README: the shipped recording after its flip back, in a real browser.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const { REPRISE, REPRISE_TEST_TOOLS, REPRISE_TEST_CHROMIUM, REPRISE_TEST_PICTURE, REPRISE_TEST_WIDTH = "1480", REPRISE_TEST_SCHEME = "light" } = process.env;
const { chromium } = createRequire(join(REPRISE_TEST_TOOLS, "node_modules/"))("playwright-core");

const work = mkdtempSync(join(tmpdir(), "reprise-picture-"));
// Proofs that take a while, so that the times on it are not all zero.
const node = spawn(REPRISE, ["run", "--backend", "mock", "--prove-apart", "always", "--mock-cost", "200,400,600", "--api", "127.0.0.1:0", "--api-linger", "always", "--data-dir", work], { stdio: ["ignore", "ignore", "pipe"] });
let said = "", browser;
try {
  await new Promise((done, failed) => {
    node.stderr.on("data", (data) => { said += data; if (said.includes("the run has ended")) done(); });
    node.on("exit", () => failed(new Error(said)));
  });
  browser = await chromium.launch({ executablePath: REPRISE_TEST_CHROMIUM, headless: true, args: ["--no-sandbox", "--disable-gpu"] });
  const context = await browser.newContext({ viewport: { width: Number(REPRISE_TEST_WIDTH), height: 760 }, colorScheme: REPRISE_TEST_SCHEME, reducedMotion: "reduce" });
  const page = await context.newPage();
  await page.goto(said.match(/watched at (\S+)/)[1]);
  await page.waitForSelector(".block");
  await page.evaluate(() => document.fonts.ready.then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))));
  const below = await page.evaluate(() => document.getElementById("time").closest("section").getBoundingClientRect().bottom);
  await page.screenshot({ path: REPRISE_TEST_PICTURE, ...(process.env.REPRISE_TEST_WHOLE ? { fullPage: true } : { clip: { x: 0, y: 0, width: Number(REPRISE_TEST_WIDTH), height: Math.ceil(below) + 12 } }) });
} finally {
  await browser?.close();
  node.kill("SIGINT");
  rmSync(work, { recursive: true, force: true });
}
