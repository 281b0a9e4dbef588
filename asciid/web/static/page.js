/* asciid: everything here only adds; each page works without it. */
(d => {
  'use strict';
  d.documentElement.classList.add('js');
  let $ = (s, e) => (e || d).querySelector(s);
  let all = (s, e) => Array.from((e || d).querySelectorAll(s));
  function say(text) { let s = $('#say'); s.textContent = ''; setTimeout(() => { s.textContent = text; }, 50); }
  function sha(buffer) {
    return crypto.subtle.digest('SHA-256', buffer).then(hash => {
      return Array.from(new Uint8Array(hash), b => (b + 256).toString(16).slice(1)).join('');
    });
  }

  /* Copy a link or a text; where the clipboard is closed, select it. */
  function copy(button, from) {
    (navigator.clipboard ? navigator.clipboard.writeText(from.href || from.textContent) : Promise.reject()).then(() => {
      button.textContent = 'Done'; say('Copied');
      setTimeout(() => { button.textContent = 'Copy'; }, 1600);
    }, () => { getSelection().selectAllChildren(from); say('Selected, copy with your keyboard'); });
  }

  /* Check the bytes that the server serves against the hash in the page. */
  function verify(el) {
    if (!window.crypto || !crypto.subtle) return;
    fetch('/image/' + el.dataset.verify).then(r => { if (!r.ok) throw r; return r.arrayBuffer(); }).then(sha).then(hash => {
      el.textContent = hash === el.dataset.verify ? '\u2713 checked by this browser' : '\u2717 the bytes do not match';
    }).catch(() => {});
  }

  /* Arrow keys: from card to card inside the gallery, else newer and older. */
  function keys(e) {
    if (e.altKey || e.ctrlKey || e.metaKey || e.shiftKey || e.defaultPrevented) return;
    let t = e.target;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(t.tagName)) return;
    let box = t.closest('.stage');
    if (box && box.scrollWidth > box.clientWidth) return;
    let links = all('.wall .cap a'), at = links.indexOf(t);
    if (at >= 0) {
      let here = t.closest('li').getBoundingClientRect(), mid = here.left + here.width / 2;
      let to = { ArrowLeft: links[at - 1], ArrowRight: links[at + 1] }[e.key], best = 1e9;
      let way = { ArrowUp: -1, ArrowDown: 1 }[e.key];
      if (way) links.forEach(a => {
        let r = a.closest('li').getBoundingClientRect(), dy = (r.top - here.top) * way;
        let far = dy * 99 + Math.abs(r.left + r.width / 2 - mid);
        if (dy > 1 && far < best) { best = far; to = a; }
      });
      if (to) { e.preventDefault(); to.focus(); }
      return;
    }
    let rel = { ArrowLeft: 'prev', ArrowRight: 'next' }[e.key], a = rel && $('a[rel=' + rel + ']');
    if (a) a.click();
  }

  d.addEventListener('DOMContentLoaded', () => {
    all('[data-copy]').forEach(b => { b.addEventListener('click', () => { copy(b, $(b.dataset.copy)); }); });
    all('[data-verify]').forEach(verify);
    d.addEventListener('keydown', keys);
  });
  window.asciid = { $: $, all: all, say: say, sha: sha, copy: copy };
})(document);
