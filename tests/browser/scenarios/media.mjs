// Forced colours, print, and a browser that lacks what the style sheet uses.
import assert from "node:assert/strict";
import { contrastOf, run, shoot, task, watched } from "./_browser.mjs";

/** Fails unless the darkest and the lightest point of an element can be told apart. */
async function assertLegible(browser, page, selector, where) {
  const png = await page.locator(selector).first().screenshot();
  const found = await contrastOf(browser, png);
  assert.ok(found >= 4.5, `${where}: ${selector} has a contrast of ${found}`);
}

// Chromium forces black on white, whatever the scheme.
await run(async (browser) => {
  const page = await watched(browser, {
    viewport: { width: 1280, height: 800 },
    forcedColors: null,
  });
  for (const [name, path] of Object.entries(task.pages)) {
    await page.goto(task.url + path);
    const where = `${name}, forced colours`;
    const forced = await page.evaluate(() => matchMedia("(forced-colors: active)").matches);
    assert.ok(forced, where);
    await shoot(page, `forced-${name}`);
    for (const selector of [
      "h1:not(.off)",
      ".plate:not(.own)",
      ".stage:not(.own)",
      ".seg",
      ".main",
      ".tick",
    ]) {
      if (await page.locator(selector).count())
        await assertLegible(browser, page, selector, where);
    }
  }
}, "--force-high-contrast");

await run(async (browser) => {
  for (const colorScheme of ["light", "dark"]) {
    const page = await watched(browser, {
      viewport: { width: 720, height: 1000 },
      colorScheme,
    });
    await page.emulateMedia({ media: "print", colorScheme });
    for (const [name, path] of Object.entries(task.pages)) {
      await page.goto(task.url + path);
      await shoot(page, `print-${name}-${colorScheme}`);
      const ink = await page.evaluate(() => getComputedStyle(document.body).color);
      assert.equal(ink, "rgb(22, 22, 22)", `${name}: prints light text`);
      for (const selector of [".bar", "fieldset", "button"])
        assert.equal(
          await page.locator(selector).filter({ visible: true }).count(),
          0,
          `${name}: prints ${selector}`,
        );
      const over = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.equal(over, 0, `${name}, print: wider than the paper`);
      if (await page.locator(".stage").count())
        await assertLegible(browser, page, ".stage", `${name}, print`);
    }
    await page.context().close();
  }
});

// round(), :has() and font-size-adjust with two values are missing in older browsers.
await run(async (browser) => {
  const page = await watched(browser, { viewport: { width: 1280, height: 800 } });
  await page.route("**/static/style-*.css", async (route) => {
    const answer = await route.fetch();
    const text = await answer.text();
    const body = ["round(", ":has(", "ch-width"].reduce((css, part) => {
      assert.ok(css.includes(part), part);
      return css.replaceAll(part, part.replace(/^:?/, "$&no-"));
    }, text);
    await route.fulfill({ response: answer, body });
  });
  for (const [name, path] of Object.entries(task.pages)) {
    await page.goto(task.url + path);
    await shoot(page, `older-${name}`);
    const found = await page.evaluate(() => ({
      over: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      choices: [...document.querySelectorAll(".choice")].filter((e) => e.offsetParent).length,
      sizes: [...document.querySelectorAll(".plate .art")].map((art) => {
        const [inner, outer] = [art, art.parentNode].map((e) => e.getBoundingClientRect());
        return [inner.width / outer.width, inner.height / outer.height];
      }),
      own: [...document.querySelectorAll(".own")].map((e) => getComputedStyle(e).backgroundColor),
    }));
    const where = `${name}, older browser`;
    assert.ok(found.over <= 0, `${where}: wider than the window`);
    assert.equal(found.choices, 0, `${where}: shows choices that do nothing`);
    for (const [wide, high] of found.sizes) {
      assert.ok(wide <= 1.01 && high <= 1.01, `${where}: art exceeds its plate`);
      assert.ok(wide > 0.5 || high > 0.5, `${where}: art is too small`);
    }
    for (const ground of found.own) assert.equal(ground, "rgb(0, 0, 0)", where);
  }
});
