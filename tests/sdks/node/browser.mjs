// Sends the events of a job from a page in Chromium, with the SDK that the argument names.
//
// The page has another origin than the gateway.  Ends when as many events have been answered 200 or
// given up as there were, or when the page has been left.  Tells all requests of the page, preflights
// included, and all that it complained of.

import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { job, pause } from "./job.mjs";

const PATIENCE_MS = 60_000;
const LOADING_MS = 1_500; // for the SDK's settings
const LEAVING_MS = 3_000; // for what a page sends when it is left
const here = dirname(fileURLToPath(import.meta.url));
const tell = (line) => console.log(JSON.stringify(line));

async function bundle(name) {
  const { outputFiles } = await build({
    entryPoints: [join(here, "pages", `${name}.js`)],
    bundle: true,
    format: "iife",
    globalName: "app",
    write: false,
    logLevel: "error",
  });
  return outputFiles[0].text;
}

function serve(script, port) {
  const html = `<!doctype html><title>Shop</title><link rel="icon" href="data:,"><script src="/app.js"></script>`;
  const server = createServer(({ url }, response) => {
    const isScript = url === "/app.js";
    response.setHeader("Content-Type", `${isScript ? "text/javascript" : "text/html"}; charset=utf-8`);
    response.end(isScript ? script : html);
  });
  return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve(server)));
}

// The events that a request's body holds, whatever the SDK.
function eventsIn(body) {
  const text = body.startsWith("data=") ? new URLSearchParams(body).get("data") : body;
  const json = /^[[{]/.test(text) ? text : Buffer.from(text, "base64").toString();
  const document = JSON.parse(json);
  const records = document.batch ?? (Array.isArray(document) ? document : [document]);
  // Mixpanel's SDK makes records of its own when somebody signs in.
  return records.filter(({ event, $set_once }) => event !== "$identify" && !$set_once);
}

const name = process.argv[2];
const server = await serve(await bundle(name), Number(new URL(job.page).port));
const profile = await mkdtemp(join(tmpdir(), "chromium-"));
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  userAgent: job.userAgent,
  locale: "de-CH",
  timezoneId: "Asia/Tokyo",
  ignoreHTTPSErrors: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

const page = await browser.newPage();
page.on("console", (message) => tell({ console: message.type(), text: message.text() }));
page.on("pageerror", (error) => tell({ console: "exception", text: String(error) }));

const protocol = await browser.newCDPSession(page);
const bodies = new Map();
let settled = 0;
let onEvent = () => {};
const giveUp = (key) => {
  tell({ givenUp: key });
  settled += 1;
  onEvent();
};
protocol.on("Network.requestWillBeSent", ({ requestId, request, type }) => {
  tell({ request: request.url, method: request.method, type });
  if (request.method === "POST" && request.postData) bodies.set(requestId, request.postData);
});
protocol.on("Network.responseReceived", ({ requestId, response }) => {
  if (response.status !== 200 || !bodies.has(requestId)) return;
  settled += eventsIn(bodies.get(requestId)).length;
  onEvent();
});
// Mixpanel's SDK forgets what it sends while nobody listens.
protocol.on("Network.loadingFailed", ({ requestId }) => {
  if (name !== "mixpanel" || !bodies.has(requestId)) return;
  const user = job.events.find(({ userId }) => userId)?.userId;
  for (const { properties } of eventsIn(bodies.get(requestId))) giveUp(String(properties?.n ?? user));
});
await protocol.send("Network.enable");

await page.exposeFunction("giveUp", giveUp);
await page.goto(job.page, { referer: job.referrer });
await page.evaluate((job) => void (window.send = app.start(job)), { ...job, events: [] });
const all = new Promise((resolve) => {
  onEvent = () => settled >= job.events.length && resolve();
  setTimeout(resolve, PATIENCE_MS).unref();
});
for (const event of job.events) {
  await page.evaluate((event) => void window.send(event), event);
  await pause();
}
if (job.leaves) {
  await page.waitForTimeout(LOADING_MS);
  tell({ arrivedBefore: settled });
  await page.goto("about:blank");
  await page.waitForTimeout(LEAVING_MS);
} else {
  await all;
}
await browser.close();
await rm(profile, { recursive: true });
server.close();
