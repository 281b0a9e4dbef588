// Every page, in both schemes, on a phone and on a desktop.
import assert from "node:assert/strict";
import {
  assertAccessible,
  assertQuiet,
  assertStill,
  run,
  shoot,
  task,
  watched,
} from "./_browser.mjs";

await run(async (browser) => {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [360, 1280]) {
      const viewport = { width, height: width === 360 ? 740 : 800 };
      const page = await watched(browser, { viewport, colorScheme });
      page.expected.push(/status of (404|451)/);
      // What no upload can bring about is rendered by the test.
      for (const [path, body] of Object.entries(task.rendered))
        await page.route(task.url + path, (route) =>
          route.fulfill({ body, contentType: "text/html; charset=utf-8" }),
        );
      for (const [name, path] of Object.entries(task.pages)) {
        const where = `${name}, ${colorScheme}, ${width} px`;
        const answer = await page.goto(task.url + path);
        if (!(path in task.rendered)) {
          const { "content-security-policy": policy } = answer.headers();
          assert.match(policy ?? "", /^default-src 'none'; /, where);
          assert.doesNotMatch(policy, /unsafe|data:|https?:/, where);
          const framed = name.startsWith("embed") ? "frame-ancestors *" : "frame-ancestors 'none'";
          assert.ok(policy.endsWith(framed), where);
        }
        await page.waitForLoadState("networkidle");
        await shoot(page, `${name}-${colorScheme}-${width}`, {
          fullPage: !name.startsWith("embed"),
        });
        await assertStill(page, where);
        await assertQuiet(page, where);
        await assertAccessible(page, where);
        const over = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        assert.equal(over, 0, `${where}: wider than the window`);
      }
      await page.context().close();
    }
  }
});
