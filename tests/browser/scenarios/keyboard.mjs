// Everything can be done with the keyboard alone, in the order of the eye.
import assert from "node:assert/strict";
import { assertQuiet, run, task, watched } from "./_browser.mjs";

const focused = (page) =>
  page.evaluate(() => {
    const element = document.activeElement;
    return element.getAttribute("href") ?? element.id ?? element.className;
  });

/** Fails unless the cards are focused row by row, from left to right. */
async function assertOrder(page, where) {
  await page.locator("#main").focus();
  const seen = [];
  const count = await page.locator(".wall li").count();
  for (let i = 0; i < count; i += 1) {
    await page.keyboard.press("Tab");
    seen.push(
      await page.evaluate(() => {
        const box = document.activeElement.closest("li").getBoundingClientRect();
        return { left: box.left, top: box.top + scrollY };
      }),
    );
  }
  seen.slice(1).forEach((box, i) => {
    const before = seen[i];
    const after = box.top > before.top + 1;
    const beside = Math.abs(box.top - before.top) <= 1 && box.left > before.left;
    assert.ok(after || beside, `${where}: card ${i + 1} is before card ${i}`);
  });
}

await run(async (browser) => {
  const page = await watched(browser, { viewport: { width: 1280, height: 800 } });

  await page.goto(task.url + task.viewer);
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "#main");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "#label");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Tab");
  assert.equal(await focused(page), "z0");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(page), "z1");
  const size = (scale) =>
    page.evaluate(() => getComputedStyle(document.querySelector(".stage .art")).fontSize);
  const natural = await size();
  await page.keyboard.press("ArrowRight");
  assert.ok(parseFloat(await size()) > 1.9 * parseFloat(natural));

  await page.locator("body").click({ position: { x: 2, y: 2 } });
  await page.keyboard.press("ArrowRight");
  await page.waitForURL(task.url + task.older);
  await page.keyboard.press("ArrowLeft");
  await page.waitForURL(task.url + task.viewer);

  // In wide art the arrows scroll, and lead nowhere.
  await page.goto(task.url + task.wide);
  await page.locator(".stage").focus();
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => document.querySelector(".stage").scrollLeft > 0);
  assert.equal(page.url(), task.url + task.wide);

  for (const width of [360, 820, 1280]) {
    await page.setViewportSize({ width, height: 800 });
    await page.goto(`${task.url}/`);
    await assertOrder(page, `${width} px`);
  }
  const links = page.locator(".wall .cap a");
  await links.first().focus();
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(page), await links.nth(1).getAttribute("href"));
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/i\/[0-9a-f]{12,}$/);
  await assertQuiet(page, "keyboard");
});
