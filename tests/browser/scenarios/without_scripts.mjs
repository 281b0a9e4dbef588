// With JavaScript off: gallery, viewer, links and the form work, the rest is hidden.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { run, shoot, task } from "./_browser.mjs";

await run(async (browser) => {
  const context = await browser.newContext({
    javaScriptEnabled: false,
    viewport: { width: 1280, height: 800 },
  });
  const page = await context.newPage();
  await page.goto(`${task.url}/`);
  const cards = page.locator(".wall li");
  assert.ok((await cards.count()) >= 3);
  const title = await cards.first().locator("h2").innerText();
  await cards.first().locator("a").click();
  assert.equal(await page.locator("h1").innerText(), title);
  assert.equal(await page.locator(".js").filter({ visible: true }).count(), 0);
  const size = () => page.locator(".stage .art").evaluate((e) => getComputedStyle(e).fontSize);
  await page.locator("#z1").check({ force: true });
  const natural = parseFloat(await size());
  await page.locator("#z3").check({ force: true });
  assert.ok(parseFloat(await size()) > 2.9 * natural, "scale");
  await page.locator("#gw").check({ force: true });
  const ground = await page
    .locator(".stage")
    .evaluate((e) => getComputedStyle(e).backgroundColor);
  assert.equal(ground, "rgb(255, 255, 255)");
  const raw = await page.locator(".links a", { hasText: "Raw text" }).getAttribute("href");
  assert.equal((await page.request.get(task.url + raw)).status(), 200);
  await page.locator("a[rel=next]").click();
  assert.notEqual(await page.locator("h1").innerText(), title);

  await page.locator("nav a", { hasText: "Upload" }).click();
  assert.equal(await page.locator(".js").filter({ visible: true }).count(), 0);
  await shoot(page, "upload-without-scripts");
  const file = join(task.directory, "sailor.txt");
  writeFileSync(file, " o/\n/|\n/ \\\n");
  await page.setInputFiles("#file", file);
  await page.fill("input[name=title]", "Sailor");
  await page.fill("textarea[name=description]", "A sailor waves.");
  await page.locator("form .main").click();
  await page.waitForURL(/\/i\/[0-9a-f]{12,}$/);
  assert.equal(await page.locator("h1").innerText(), "Sailor");
  assert.equal(await page.locator("pre").getAttribute("aria-label"), "A sailor waves.");
  assert.match(await page.locator("pre").innerText(), / o\/\n\/\|/);

  // What is refused is refused with a page.
  const noise = join(task.directory, "noise.txt");
  writeFileSync(noise, Buffer.from([0x80, 0, 1, 2, 0xff, 0xfe, 0, 9]));
  await page.goto(`${task.url}/upload`);
  await page.setInputFiles("#file", noise);
  await page.locator("form .main").click();
  await page.getByRole("heading", { name: /^422\. / }).waitFor();
  await page.locator("main a", { hasText: "Upload" }).click();
  await page.waitForURL(`${task.url}/upload`);
});
