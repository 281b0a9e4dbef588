// Each cell stands where its column says, at every scale and on screens of any density.
import assert from "node:assert/strict";
import { run, task, watched } from "./_browser.mjs";

const LIMIT = 0.1;

/** Returns the largest distance of a character from its column, in CSS pixels. */
const drift = () => {
  let worst = 0;
  for (const pre of document.querySelectorAll(".art")) {
    const { left } = pre.getBoundingClientRect();
    const cell = parseFloat(getComputedStyle(pre).fontSize) * 0.6;
    let column = 0;
    const visit = (node) => {
      if (node.nodeType === Node.ELEMENT_NODE) {
        const before = column;
        const box = node.getBoundingClientRect();
        worst = Math.max(worst, Math.abs(box.left - left - column * cell));
        node.childNodes.forEach(visit);
        const wide = [...node.classList].find((name) => /^n\d+$/.test(name));
        if (node.tagName === "SPAN") column = before + (wide ? +wide.slice(1) : 1);
        return;
      }
      const range = document.createRange();
      let at = 0;
      for (const character of node.data) {
        if (character === "\n") column = 0;
        else {
          range.setStart(node, at);
          range.setEnd(node, at + character.length);
          const box = range.getBoundingClientRect();
          if (box.width) {
            worst = Math.max(worst, Math.abs(box.left - left - column * cell));
          }
          column += 1;
        }
        at += character.length;
      }
    };
    pre.childNodes.forEach(visit);
  }
  return worst;
};

await run(async (browser) => {
  for (const deviceScaleFactor of [1, 1.25, 1.5, 2]) {
    for (const width of [360, 820, 1280]) {
      const page = await watched(browser, {
        viewport: { width, height: 800 },
        deviceScaleFactor,
      });
      for (const path of task.paths) {
        await page.goto(task.url + path);
        for (const scale of ["#z0", "#z1", "#z2", "#z3"]) {
          const radio = page.locator(scale);
          if (await radio.count()) await radio.check({ force: true });
          else if (scale !== "#z0") continue;
          const worst = await page.evaluate(drift);
          const where = `${path} ${scale}, ${width} px, density ${deviceScaleFactor}`;
          if (task.report) console.log(worst.toFixed(4), where);
          else assert.ok(worst < LIMIT, `${where}: ${worst} px`);
        }
      }
      await page.context().close();
    }
  }
});
