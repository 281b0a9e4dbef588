// A host with write tokens: the page asks for one, and keeps it for its tab alone.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { assertAccessible, run, shoot, task, watched } from "./_browser.mjs";

await run(async (browser) => {
  const page = await watched(browser, { viewport: { width: 1280, height: 800 } });
  page.expected.push(/status of (401|404)/);
  await page.goto(`${task.url}/upload`);
  await assertAccessible(page, "token");
  await shoot(page, "upload-token");
  const path = join(task.directory, "owl.txt");
  writeFileSync(path, "{o,o}\n");
  await page.setInputFiles("#file", path);
  await page.getByText("ready to send").waitFor();
  await page.locator("form .main").click();
  await page.getByText("The write token is missing or wrong").waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.id), "token");
  await page.fill("#token", task.token);
  await page.locator(".pause").click();
  await page.getByText("Stored, hash checked").waitFor();
  const kept = await page.evaluate(() => ({
    session: JSON.stringify(sessionStorage),
    local: JSON.stringify(localStorage),
    address: location.href,
    cookie: document.cookie,
  }));
  assert.ok(kept.session.includes(task.token));
  for (const place of ["local", "address", "cookie"])
    assert.ok(!kept[place].includes(task.token), place);
  await page.reload();
  assert.equal(await page.inputValue("#token"), task.token);
  const other = await page.context().newPage();
  await other.goto(`${task.url}/upload`);
  assert.equal(await other.inputValue("#token"), "");
});
