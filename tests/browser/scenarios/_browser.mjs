// Starts Chromium and watches pages: what they log, what their policy refuses, what moves.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const AXE = readFileSync(
  createRequire(import.meta.url).resolve("axe-core/axe.min.js"),
  "utf8",
);

/** What the test that starts this process wants of it. */
export const task = JSON.parse(readFileSync(process.argv[2], "utf8"));

/** Opens a browser with `options` for `work`; a failure ends this process with one. */
export async function run(work, ...options) {
  const browser = await chromium.launch({
    executablePath: task.chromium,
    args: ["--no-sandbox", "--disable-background-networking", ...options],
  });
  try {
    await work(browser);
  } finally {
    await browser.close();
  }
}

/** A page whose every error is collected; `context` as for Playwright's newContext. */
export async function watched(browser, context = {}) {
  const page = await (await browser.newContext(context)).newPage();
  page.errors = [];
  page.expected = [];
  const add = (text) => {
    if (!page.expected.some((pattern) => pattern.test(text))) page.errors.push(text);
  };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) add(message.text());
  });
  page.on("pageerror", (error) => add(String(error)));
  page.on("requestfailed", (request) => {
    const { errorText } = request.failure();
    // A page that is left ends its requests.
    if (errorText !== "net::ERR_ABORTED") add(`${request.url()}: ${errorText}`);
  });
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(task.url) && !/^(data|blob):/.test(url)) add(`asked for ${url}`);
  });
  page.on("dialog", (dialog) => {
    add(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.addInitScript(() => {
    window.refused = [];
    window.shift = 0;
    document.addEventListener("securitypolicyviolation", (event) =>
      window.refused.push(`${event.violatedDirective} ${event.blockedURI}`),
    );
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) {
        if (!entry.hadRecentInput) window.shift += entry.value;
      }
    }).observe({ type: "layout-shift", buffered: true });
  });
  return page;
}

/** Fails if anything went wrong on the page. */
export async function assertQuiet(page, where) {
  assert.deepEqual(page.errors, [], where);
  assert.deepEqual(await page.evaluate(() => window.refused), [], where);
}

/** Fails if anything moved while the page was loaded. */
export async function assertStill(page, where) {
  assert.equal(await page.evaluate(() => window.shift), 0, `${where}: layout shift`);
}

/** Fails on what axe finds. The colours of uploaded art are those of its author. */
export async function assertAccessible(page, where) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() =>
    axe
      .run(
        { exclude: [".art"] },
        { resultTypes: ["violations"] },
      )
      .then((result) =>
        result.violations.map(
          (rule) => `${rule.id}: ${rule.nodes.map((node) => node.html.slice(0, 200))}`,
        ),
      ),
  );
  assert.deepEqual(found, [], where);
}

/** Keeps a screenshot among the files of the run. */
export async function shoot(page, name, options = { fullPage: true }) {
  await page.screenshot({ path: join(task.screenshots, `${name}.png`), ...options });
}

/** Returns the colours of a screenshot at given points: [[red, green, blue], ...]. */
export async function coloursAt(browser, png, points) {
  return inPicture(browser, png, points, (pixels, width, points) =>
    points.map(([x, y]) => Array.from(pixels.slice(4 * (y * width + x), 4 * (y * width + x) + 3))),
  );
}

/** Returns the contrast of the lightest and the darkest point of a screenshot. */
export async function contrastOf(browser, png) {
  return inPicture(browser, png, null, (pixels) => {
    const part = (value) =>
      value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
    let [low, high] = [1, 0];
    for (let i = 0; i < pixels.length; i += 4) {
      const light =
        0.2126 * part(pixels[i]) + 0.7152 * part(pixels[i + 1]) + 0.0722 * part(pixels[i + 2]);
      low = Math.min(low, light);
      high = Math.max(high, light);
    }
    return (high + 0.05) / (low + 0.05);
  });
}

async function inPicture(browser, png, argument, work) {
  const page = await browser.newPage();
  try {
    return await page.evaluate(
      async ([data, argument, source]) => {
        const image = await createImageBitmap(
          new Blob([Uint8Array.from(atob(data), (byte) => byte.charCodeAt(0))]),
        );
        const { width, height } = image;
        const canvas = new OffscreenCanvas(width, height).getContext("2d");
        canvas.drawImage(image, 0, 0);
        const pixels = canvas.getImageData(0, 0, width, height).data;
        return eval(source)(pixels, width, argument);
      },
      [png.toString("base64"), argument, `(${work})`],
    );
  } finally {
    await page.close();
  }
}
