// Somebody else's text runs nowhere, also where no policy would prevent it.
import assert from "node:assert/strict";
import { run, task, watched } from "./_browser.mjs";

/** Returns what in a document could run, besides the files of the pages. */
const dangerous = () => {
  const found = [];
  // Chromium makes a document of its own of plain text and JSON.
  if (/^(text\/plain|application\/json)$/.test(document.contentType)) return found;
  for (const element of document.querySelectorAll("*")) {
    for (const { name, value } of element.attributes) {
      if (/^on/i.test(name) || name === "style" || name === "srcdoc")
        found.push(`${element.tagName} ${name}`);
      if (
        /^(href|src|action|formaction|data|xlink:href)$/i.test(name) &&
        !/^(https?:|\/|#|$)/i.test(value.trim())
      )
        found.push(`${element.tagName} ${name}=${value}`);
    }
    if (/^(iframe|object|embed|base|style|foreignObject|animate|set)$/i.test(element.tagName))
      found.push(element.tagName);
    if (
      element.tagName.toLowerCase() === "script" &&
      !element.getAttribute("src")?.startsWith("/static/")
    )
      found.push("script");
  }
  return found;
};

await run(async (browser) => {
  // The policy is off here: escaping alone must do.
  const page = await watched(browser, {
    viewport: { width: 1280, height: 800 },
    bypassCSP: true,
  });
  page.expected.push(/status of (404|451)/);
  let hits = 0;
  await page.exposeFunction("ran", () => {
    hits += 1;
  });
  await page.addInitScript(() => {
    for (const name of ["alert", "confirm", "prompt", "print"]) window[name] = window.ran;
  });
  for (const path of task.paths) {
    await page.goto(task.url + path);
    await page.evaluate(() => new Promise((done) => setTimeout(done)));
    assert.deepEqual(await page.evaluate(dangerous), [], path);
    assert.equal(hits, 0, path);
    assert.deepEqual(page.errors, [], path);
  }

  // The gallery, from its newest page to its oldest.
  await page.goto(`${task.url}/`);
  let shown = 0;
  for (let i = 0; i < task.galleries; i += 1) {
    assert.deepEqual(await page.evaluate(dangerous), [], page.url());
    assert.equal(hits, 0, page.url());
    shown += await page.locator(".wall li").count();
    const next = page.locator("a[rel=next]");
    if (!(await next.count())) break;
    await next.click();
    await page.waitForLoadState();
  }
  assert.ok(shown >= task.payloads.length, `${shown} cards`);
  assert.deepEqual(page.errors, []);

  // Names of files, in the upload page, and what is shown of them afterwards.
  await page.goto(`${task.url}/upload`);
  await page.evaluate((payloads) => {
    const data = new DataTransfer();
    for (const text of payloads) data.items.add(new File([text], `${text}.txt`));
    document.dispatchEvent(
      new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }),
    );
  }, task.payloads);
  await page.waitForFunction(
    (count) =>
      [...document.querySelectorAll(".queue .state")].filter((line) =>
        /ready to send/.test(line.textContent),
      ).length === count,
    task.payloads.length,
  );
  assert.deepEqual(await page.evaluate(dangerous), [], "upload");
  assert.equal(hits, 0, "upload");
  assert.deepEqual(page.errors, []);
  assert.equal(
    await page.locator(".queue .name").first().innerText(),
    `${task.payloads.at(-1)}.txt`.replace(/\s+/g, " "),
  );
  // That something would be noticed, if it ran.
  await page.evaluate(() => {
    document.body.insertAdjacentHTML("beforeend", '<img src="/x" onerror="alert(1)">');
  });
  await page.waitForFunction(() => !document.querySelector("img").complete || true);
  await page.waitForTimeout(500);
  assert.equal(hits, 1, "the test notices nothing");
});
