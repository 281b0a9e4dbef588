// The colours of sampled cells, on a screenshot, are those that the file asks for.
import assert from "node:assert/strict";
import { assertQuiet, coloursAt, run, shoot, task, watched } from "./_browser.mjs";

const near = (one, other) => one.every((value, i) => Math.abs(value - other[i]) <= 2);

await run(async (browser) => {
  for (const colorScheme of ["light", "dark"]) {
    for (const scale of ["#z0", "#z1", "#z2"]) {
      const page = await watched(browser, {
        viewport: { width: 1280, height: 800 },
        colorScheme,
      });
      await page.goto(task.url + task.path);
      await page.locator(scale).check({ force: true });
      const box = await page.locator(".stage .art").boundingBox();
      await shoot(page, `colours-${colorScheme}-${scale.slice(1)}`);
      // A picture of more than the window would change the window, and the size to fit.
      const png = await page.screenshot();
      const cell = { width: box.width / task.columns, height: box.height / task.rows };
      // Each sample: row, column, a place in the cell in quarters, and a colour.
      const points = task.samples.map(([row, column, across, down]) => [
        Math.floor(box.x + (column + across / 4) * cell.width),
        Math.floor(box.y + (row + down / 4) * cell.height),
      ]);
      const visible = points.map(([x, y]) => x < 1280 - 40 && y < 800);
      const seen = points.map((point, i) => (visible[i] ? point : [0, 0]));
      const found = await coloursAt(browser, png, seen);
      const wrong = task.samples.filter(
        (sample, i) => visible[i] && !near(found[i], sample[4]),
      );
      assert.deepEqual(wrong, [], `${colorScheme} ${scale}`);
      assert.ok(visible.filter(Boolean).length >= task.samples.length / 4);
      await assertQuiet(page, task.path);
      await page.context().close();
    }
  }
});
