// Somebody who was never here: looks, drags a file, reloads in the middle, gets a link.
import assert from "node:assert/strict";
import { assertAccessible, assertQuiet, run, shoot, task, watched } from "./_browser.mjs";

const CHUNK = 131072;
const COUNT = 24;
const LANES = 4;
const text = Array.from(
  { length: (COUNT * CHUNK) / 64 },
  (_, i) => `${"/\\_.".repeat(14)}${String(i).padStart(7, "0")}\n`,
).join("");

await run(async (browser) => {
  const page = await watched(browser, { viewport: { width: 1280, height: 800 } });
  page.expected.push(/status of 404/); // the hash was never registered
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);

  await page.goto(`${task.url}/`);
  const shown = await page.locator(".wall li").count();
  assert.ok(shown >= 6, `the gallery shows ${shown} images`);
  await assertQuiet(page, "gallery");
  await page.locator("nav a", { hasText: "Upload" }).click();
  await page.waitForLoadState();

  const drag = (name) =>
    page.evaluate(
      ([name, text]) => {
        const data = new DataTransfer();
        data.items.add(new File([text], "scroll.txt", { type: "text/plain" }));
        const event = new DragEvent(name, {
          dataTransfer: data,
          bubbles: true,
          cancelable: true,
        });
        document.querySelector("h1").dispatchEvent(event);
      },
      [name, text],
    );
  await drag("dragenter");
  await drag("dragover");
  assert.ok(await page.locator(".drop.over").count(), "the page shows where to drop");
  await drag("drop");
  assert.equal(await page.locator(".drop.over").count(), 0);
  await page.getByText(/Hashed [0-9a-f]{12}, ready to send/).waitFor();
  await page.fill("input[name=title]", "A long scroll");
  await page.fill("textarea[name=description]", "Roofs, in rows.");

  let sent = 0;
  await page.route("**/chunks", async (route) => {
    if (route.request().method() === "POST") {
      sent += 1;
      await new Promise((done) => setTimeout(done, 250));
    }
    await route.continue().catch(() => {});
  });
  await page.locator("form .main").click();
  await page.waitForFunction(() => {
    const bar = document.querySelector("progress");
    return bar && bar.value > 20 && bar.value < 80;
  });
  assert.match(await page.locator(".state").innerText(), /^Sending, \d+ %$/);
  await shoot(page, "upload-sending");
  await assertAccessible(page, "sending");

  await page.reload();
  await page.getByText(/Resumed at \d+ %/).waitFor();
  const resumed = Number(
    (await page.locator(".state").innerText()).match(/Resumed at (\d+) %/)[1],
  );
  assert.ok(resumed >= 15 && resumed < 100, `resumed at ${resumed} %`);
  await page.getByText("Stored, hash checked").waitFor();
  assert.ok(sent <= COUNT + LANES, `${sent} chunks were sent of ${COUNT}`);

  const key = await page.locator(".key").innerText();
  assert.match(key, /^[a-z0-9]+(-[a-z0-9]+)+$/);
  await page.locator(".queue .with button").first().click();
  const link = await page.locator(".queue .link").getAttribute("href");
  await page.getByText("Done").waitFor();
  assert.equal(
    await page.evaluate(() => navigator.clipboard.readText()),
    task.url + link,
  );
  await page.locator(".queue .plate .art").waitFor();
  await shoot(page, "upload-done");
  await assertAccessible(page, "done");
  await page.setViewportSize({ width: 360, height: 740 });
  await shoot(page, "upload-done-360");
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `the page is ${over} px wider than a phone`);
  await page.setViewportSize({ width: 1280, height: 800 });

  await page.getByText("Edit title and description").click();
  await page.locator(".about input").fill("A very long scroll");
  await page.locator(".about .main").click();
  await page.getByText("Saved").first().waitFor();
  await assertQuiet(page, "upload");

  await page.locator(".queue .link").click();
  await page.waitForURL(task.url + link);
  assert.equal(await page.locator("h1").innerText(), "A very long scroll");
  const raw = page.locator(".links a", { hasText: "Raw text" });
  const answer = await page.request.get(task.url + (await raw.getAttribute("href")));
  assert.equal(await answer.text(), text);

  await page.goto(`${task.url}/upload`);
  await page.waitForTimeout(300);
  assert.equal(await page.locator(".queue li").count(), 0, "a key is shown once");
  await page.goto(`${task.url}/`);
  assert.equal(
    await page.locator(".wall h2").first().innerText(),
    "A very long scroll",
  );
});
