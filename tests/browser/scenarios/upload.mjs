// Ways to send, and what may go wrong.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { assertQuiet, run, task, watched } from "./_browser.mjs";

const file = (name, content) => {
  const path = join(task.directory, name);
  writeFileSync(path, content);
  return path;
};
const state = (page, i = 0) => page.locator(".queue .state").nth(i).innerText();
const reach = (page, pattern, i = 0) =>
  page.waitForFunction(
    ([source, i]) =>
      new RegExp(source).test(document.querySelectorAll(".queue .state")[i]?.textContent),
    [pattern.source, i],
  );
const open = async (page) => {
  await page.goto(`${task.url}/upload`);
  await page.waitForLoadState("networkidle");
};
const choose = async (page, ...paths) => {
  await page.locator("#file").evaluate((input) => (input.multiple = true));
  await page.setInputFiles("#file", paths);
};
const send = (page) => page.locator("form .main").first().click();
const text = async (page, i = 0) => {
  const link = await page.locator(".queue .link").nth(i).getAttribute("href");
  const html = await (await page.request.get(task.url + link)).text();
  const raw = html.match(/\/image\/[0-9a-f]{64}/)[0];
  return Buffer.from(await (await page.request.get(task.url + raw)).body());
};

await run(async (browser) => {
  const page = await watched(browser, { viewport: { width: 1280, height: 800 } });
  page.expected.push(/status of (404|409|400|422|415)/);

  // Pasted text.
  await open(page);
  await page.evaluate(() => {
    const data = new DataTransfer();
    data.setData("text/plain", " (\\_/)\n (o.o)\n");
    document.body.dispatchEvent(
      new ClipboardEvent("paste", { clipboardData: data, bubbles: true }),
    );
  });
  await reach(page, /ready to send/);
  await send(page);
  await reach(page, /Stored, hash checked/);
  assert.equal((await text(page)).toString(), " (\\_/)\n (o.o)\n");

  // The same again: the host has it, and there is no second key.
  await choose(page, file("again.txt", " (\\_/)\n (o.o)\n"));
  await reach(page, /ready to send/);
  await send(page);
  await reach(page, /This host has it already/);
  assert.equal(await page.locator(".key").first().isVisible(), false);

  // Several at once, each with its name as title; characters of several bytes.
  await open(page);
  const hearts = "♥♡ \u{1F408}\n".repeat(30_000);
  const many = [
    file("hearts.txt", hearts),
    file("bom.txt", "\uFEFF<o_o>\n"),
    file("long.txt", "─│┌┐└┘".repeat(40_000)),
  ];
  await choose(page, ...many);
  for (let i = 0; i < 3; i += 1) await reach(page, /ready to send/, i);
  await send(page);
  for (let i = 0; i < 3; i += 1) await reach(page, /Stored/, i);
  const names = await page.locator(".queue .name").allInnerTexts();
  assert.equal((await text(page, names.indexOf("hearts.txt"))).toString(), hearts);
  assert.equal((await text(page, names.indexOf("bom.txt"))).toString(), "<o_o>\n");
  const link = page.locator(".queue .link").nth(names.indexOf("hearts.txt"));
  const html = await (await page.request.get(await link.evaluate((a) => a.href))).text();
  assert.match(html, /<h1>hearts.txt<\/h1>/);

  // Another charset: the server converts it.
  await open(page);
  const cp437 = Buffer.concat([
    Buffer.from("\x1b[1;34m"),
    Buffer.from([0xdb, 0xdc, 0xdf, 0x03]),
    Buffer.from(" old art \r\n"),
  ]);
  await choose(page, file("old.ans", cp437));
  await reach(page, /Ready to send/);
  await send(page);
  await reach(page, /Stored as UTF-8/);
  assert.match((await text(page)).toString(), /█▄▀♥ old art/);
  await page.locator(".queue .plate.own .art span").first().waitFor();

  // What is no text is refused, with the reason.
  await choose(page, file("noise.txt", Buffer.from([0x80, 0, 1, 2, 0xff, 0xfe, 0, 9])));
  await reach(page, /Ready to send/);
  await send(page);
  await page.waitForFunction(
    () => !/^(Ready|Sending)/.test(document.querySelector(".queue .state").textContent),
  );
  assert.doesNotMatch(await state(page), /Stored/);
  assert.ok((await state(page)).length > 20, await state(page));

  // Pause, and resume; then a server that is away for a while.
  await open(page);
  let sent = 0;
  let away = 0;
  await page.route("**/chunks", async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    sent += 1;
    if (away > 0) {
      away -= 1;
      return route.abort("connectionrefused");
    }
    await new Promise((done) => setTimeout(done, 250));
    return route.continue().catch(() => {});
  });
  page.expected.push(/ERR_CONNECTION_REFUSED/);
  const long = "|-".repeat(1_000_000);
  await choose(page, file("pause.txt", long));
  await reach(page, /ready to send/);
  await send(page);
  await reach(page, /Sending, [1-9]\d? %/);
  await page.locator(".pause").click();
  assert.equal(await state(page), "Paused");
  await page.waitForTimeout(400);
  const before = sent;
  await page.waitForTimeout(400);
  assert.equal(sent, before, "nothing is sent while paused");
  away = 3;
  await page.locator(".pause").click();
  await reach(page, /No connection, trying again/);
  await reach(page, /Stored, hash checked/);
  assert.equal((await text(page)).toString(), long);

  // Cancelled: the server forgets it, too.
  await choose(page, file("cancel.txt", "=-".repeat(1_000_000)));
  await reach(page, /ready to send/);
  const hash = (await state(page)).match(/[0-9a-f]{12}/)[0];
  const asked = page.waitForRequest((r) => r.method() === "DELETE");
  await send(page);
  await reach(page, /Sending, [1-9]\d? %/);
  await page.locator(".queue .cancel").first().click();
  const removed = await (await asked).response();
  assert.equal(removed.status(), 204);
  assert.ok((await asked).url().includes(hash));
  await open(page);
  await page.waitForTimeout(300);
  assert.equal(await page.locator(".queue li").count(), 0);

  // Too large is refused before anything is sent.
  await choose(page, file("huge.txt", Buffer.alloc(task.maxImage + 1, "x")));
  await reach(page, /Too large/);
  await assertQuiet(page, "upload");

  // A page without crypto.subtle: one request, for any charset.
  const insecure = await watched(browser, { viewport: { width: 1280, height: 800 } });
  const port = new URL(task.url).port;
  insecure.errors.push = () => 0;
  await insecure.goto(`http://art.test:${port}/upload`);
  assert.equal(await insecure.evaluate(() => window.isSecureContext), false);
  await choose(insecure, file("plain.txt", "<><\n"));
  await reach(insecure, /Ready to send/);
  await insecure.fill("input[name=title]", "Small fish");
  await send(insecure);
  await reach(insecure, /Stored/);
  assert.match(await insecure.locator(".key").innerText(), /-/);
  const made = await page.request.get(
    task.url + (await insecure.locator(".link").getAttribute("href")),
  );
  assert.match(await made.text(), /<h1>Small fish<\/h1>/);
}, "--host-resolver-rules=MAP art.test 127.0.0.1");
