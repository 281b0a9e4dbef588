/* asciid: uploads. The browser hashes, registers and sends the missing chunks side by side; a reload resumes. */
(d => {
  'use strict';
  let $ = asciid.$, say = asciid.say, form = $('#upload'), queue = $('.queue'), input = $('#file'), tokenField = $('#token');
  let CHUNK = 131072, LANES = 4, TRIES = 8;
  let maxImage = +form.dataset.maxImage, maxChunk = +form.dataset.maxChunk || CHUNK;
  let uploads = [];

  function bytes(n) {
    return n < 10000 ? n + ' B' : n < 1e6 ? (n / 1e3).toFixed(1) + ' kB' : (n / 1e6).toFixed(1) + ' MB';
  }
  function wait(ms, signal) {
    return new Promise((done, fail) => {
      let timer = setTimeout(done, ms);
      signal.addEventListener('abort', () => { clearTimeout(timer); fail(new DOMException('', 'AbortError')); });
    });
  }
  function Problem(text) { this.message = text; }

  /* What is under way, kept by the browser, so that a reload resumes. Without IndexedDB the file must be chosen again. */
  function kept(mode, act) {
    return new Promise((done, fail) => {
      let open = indexedDB.open('asciid', 1);
      open.onupgradeneeded = () => { open.result.createObjectStore('uploads', { keyPath: 'sha' }); };
      open.onerror = fail;
      open.onsuccess = () => {
        let db = open.result, task = db.transaction('uploads', mode), request = act(task.objectStore('uploads'));
        task.oncomplete = () => { db.close(); done(request.result); };
        task.onerror = task.onabort = () => { db.close(); fail(); };
      };
    }).catch(() => {});
  }
  function keep(u) {
    return kept('readwrite', s => s.put({ sha: u.sha, name: u.name, file: u.file, about: u.about, key: u.key }));
  }
  function forget(u) { if (u.sha) kept('readwrite', s => s.delete(u.sha)); }

  /* The write token stays in this tab, or, without storage, on this page. */
  function token() { return tokenField ? tokenField.value.trim() : ''; }
  if (tokenField) {
    try { tokenField.value = sessionStorage.getItem('asciid-token') || ''; } catch {}
    tokenField.addEventListener('input', () => { try { sessionStorage.setItem('asciid-token', token()); } catch {} });
  }
  function fields(key) {
    let h = {};
    if (token()) h.Authorization = 'Bearer ' + token();
    if (key) h['Asciid-Edit-Key'] = key;
    return h;
  }
  function why(r, text) {
    if (r.status === 401) { if (tokenField) tokenField.focus(); return new Problem('The write token is missing or wrong'); }
    let problem;
    try { problem = JSON.parse(text); } catch {}
    return new Problem(String(problem && (problem.detail || problem.title) || 'The server answered ' + r.status));
  }
  /* A request, repeated while the server is busy or away. An answer other than 2xx fails, unless its status is in `fine`. */
  function call(u, method, path, body, fine = [], key = '') {
    let tries = 0, signal = u.abort.signal;
    function again(after, problem) {
      if (++tries >= TRIES) throw problem;
      return wait(after || Math.min(30000, 500 * Math.pow(2, tries)), signal).then(once);
    }
    function once() {
      let h = fields(key);
      if (body) h['Content-Type'] = 'application/json';
      return fetch(path, { method, body: body && JSON.stringify(body), headers: h, signal, cache: 'no-store' }).then(r => {
        return r.text().then(text => {
          if (r.ok || fine.includes(r.status)) return { status: r.status, headers: r.headers, text };
          if ([408, 429, 503].includes(r.status)) {
            u.state(r.status === 429 ? 'The host asks to wait' : 'The server is busy, waiting');
            return again(1000 * (+r.headers.get('Retry-After') || 0), why(r, text));
          }
          throw why(r, text);
        });
      }, e => {
        if (e.name === 'AbortError') throw e;
        u.state('No connection, trying again');
        return again(0, new Problem('No connection'));
      });
    }
    return once();
  }

  /* The largest chunk that splits no character; 0: there is none. */
  function chunkSize(data) {
    let limits = [Math.min(CHUNK, maxChunk), maxChunk];
    for (let l = 0; l < 2; l++) {
      if (data.length <= limits[l]) return Math.max(1, data.length);
      for (let size = limits[l], low = Math.max(1, size - 20000); size >= low; size--) if (fits(data, size)) return size;
    }
    return 0;
  }
  function fits(data, size) {
    for (let i = size; i < data.length; i += size) if ((data[i] & 192) === 128) return false;
    return true;
  }

  /* Only the beginning, without colours; the stored image replaces it. */
  function preview(u, text) {
    let pre = $('pre', u.li), lines = text.slice(0, 20000).replace(/\r/g, '').replace(/\x1b\[[0-9;?]*[ -/]*[@-~]/g, '').replace(/\n$/, '').split('\n').slice(0, 40);
    let size = (letter, n) => {
      n = Math.min(999, Math.max(1, n));
      ['u', 't', 'h'].forEach(place => { if (n % 10) pre.classList.add(letter + place + n % 10); n = Math.floor(n / 10); });
    };
    lines = lines.map(l => [...l].slice(0, 160).join(''));
    size('c', Math.max(...lines.map(l => [...l].length)));
    size('r', lines.length);
    pre.textContent = lines.join('\n');
    pre.setAttribute('aria-label', 'Preview of ' + u.name);
  }
  function drawn(u, id) {
    fetch('/i/' + id + '/embed').then(r => { if (!r.ok) throw r; return r.text(); }).then(html => {
      let art = new DOMParser().parseFromString(html, 'text/html').querySelector('.plate .art');
      if (art) $('.plate', u.li).replaceWith(d.adoptNode(art.parentNode));
    }).catch(() => {});
  }

  class Upload {
    constructor(file, name) {
      let u = this;
      u.file = file; u.name = name; u.key = ''; u.sha = ''; u.about = null; u.phase = 'reading';
      u.li = $('#row').content.cloneNode(true).firstElementChild;
      u.bar = $('progress', u.li);
      u.line = $('.state', u.li);
      $('.name', u.li).textContent = name;
      $('.size', u.li).textContent = bytes(file.size);
      u.bar.setAttribute('aria-label', 'Progress of ' + name);
      u.abort = new AbortController();
      $('.cancel', u.li).addEventListener('click', () => { u.cancel(); });
      $('.pause', u.li).addEventListener('click', () => { if (u.phase === 'sending') u.pause('Paused'); else u.send(); });
      queue.prepend(u.li);
      $('.empty').hidden = true;
      uploads.push(u);
    }
    state(text) { this.line.textContent = text; }
    show(share, hashing) { this.bar.value = 100 * share; this.bar.classList.toggle('hash', !!hashing); }
    fail(e) {
      if (e.name === 'AbortError') return;
      this.pause((e.message || 'This file cannot be sent').replace(/\.$/, ''));
      say(this.name + ': ' + e.message);
    }
    pause(text) {
      this.abort.abort();
      this.phase = 'paused';
      this.state(text);
      let b = $('.pause', this.li);
      b.hidden = false;
      b.textContent = 'Resume';
    }
    cancel() {
      let u = this;
      u.abort.abort();
      forget(u);
      if (u.key && u.phase !== 'done') fetch('/image/' + u.sha, { method: 'DELETE', headers: fields(u.key) }).catch(() => {});
      uploads.splice(uploads.indexOf(u), 1);
      u.li.remove();
      $('.empty').hidden = uploads.length > 0;
      say(u.name + ' removed');
      $('#files').focus();
    }
    read() {
      let u = this;
      if (maxImage && u.file.size > maxImage) {
        u.phase = 'refused';
        u.show(0);
        return Promise.resolve(u.state('Too large: this host takes at most ' + bytes(maxImage)));
    }
    u.state('Hashing in this browser');
    return u.file.arrayBuffer().then(buffer => {
      u.data = new Uint8Array(buffer);
      try {
        preview(u, new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(buffer));
        u.utf8 = true;
      } catch (e) {
        u.utf8 = false;
        preview(u, new TextDecoder('windows-1252').decode(buffer).replace(/[^\x1b\t\n\r -~]/g, '#'));
      }
      return u.utf8 && window.crypto && crypto.subtle ? asciid.sha(buffer) : '';
    }).then(hash => {
      u.sha = hash;
      u.phase = 'ready';
      u.show(1, true);
      u.state(hash ? 'Hashed ' + hash.slice(0, 12) + ', ready to send' : 'Ready to send');
    }).catch(() => { u.phase = 'refused'; u.state('This file cannot be read'); });
    }
    send() {
      let u = this;
      u.abort = new AbortController();
      u.phase = 'sending';
      $('.pause', u.li).textContent = 'Pause';
      u.show(0);
      u.state('Sending');
      let charset = u.about.charset, asIs = charset === 'utf-8' || charset === 'auto' && !u.data.includes(26) && u.data[0] !== 239;
      let chunk = u.sha && asIs ? chunkSize(u.data) : 0;
      return (chunk ? u.inChunks(chunk) : u.whole()).catch(e => { u.fail(e); });
    }
    /* The three calls: register, send what is missing, until nothing is. */
    inChunks(chunk) {
      let u = this, path = '/image/' + u.sha;
      $('.pause', u.li).hidden = false;
      return keep(u).then(() => call(u, 'GET', path + '/chunks', null, [404])).then(r => {
        if (r.status !== 404) return r;
        return call(u, 'POST', '/image', { sha256: u.sha, size: u.data.length, chunk_size: chunk, edit_key: true, about: u.about.json }, [409]).then(made => {
          u.key = made.headers.get('Asciid-Edit-Key') || '';
          return keep(u).then(() => call(u, 'GET', path + '/chunks'));
        });
      }).then(r => {
        let status = JSON.parse(r.text);
        if (status.state === 'complete') return u.done(u.sha, u.key ? '' : 'This host has it already');
        if (!fits(u.data, status.chunk_size)) throw new Problem('Another client began to send it in chunks that split characters');
        u.sent = status.received;
        u.from = status.received ? '. Resumed at ' + Math.floor(100 * status.received / u.data.length) + ' %' : '';
        if (u.from) say(u.name + ' resumed');
        u.progress();
        return u.fill(status);
      });
    }
    progress() {
      let share = this.data.length ? Math.min(1, this.sent / this.data.length) : 1;
      this.show(share);
      this.state('Sending, ' + Math.floor(100 * share) + ' %' + this.from);
    }
    fill(status) {
      let u = this, path = '/image/' + u.sha + '/chunks', todo = [], lanes = [];
      status.missing.forEach(gap => { for (let i = gap[0]; i <= gap[1]; i++) todo.push(i); });
      function lane() {
        let id = todo.shift();
        if (id === undefined) return Promise.resolve();
        let part = u.data.subarray(id * status.chunk_size, (id + 1) * status.chunk_size);
        let text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(part);
        return call(u, 'POST', path, { id: id, size: part.length, data: text }, [409]).then(r => {
          if (r.status === 409 && !JSON.parse(r.text).identical) throw new Problem('The server has other bytes for a part of it');
          u.sent += part.length;
          u.progress();
          return lane();
        });
    }
    for (let i = 0; i < LANES; i++) lanes.push(lane());
    return Promise.all(lanes).then(() => {
      return status.missing_cut ? call(u, 'GET', path).then(r => u.fill(JSON.parse(r.text))) : u.done(u.sha, '');
    });
    }
    /* What the server converts (another charset, ^Z, a byte order mark), a page without crypto.subtle, or characters at
    every boundary: one request, which cannot be resumed. */
    whole() {
      let u = this;
      $('.pause', u.li).hidden = true;
      return new Promise((done, fail) => {
        let r = new XMLHttpRequest(), body = new FormData(), h = fields();
        Object.keys(u.about.form).forEach(k => { body.append(k, u.about.form[k]); });
        body.append('file', u.file, u.name);
        r.open('POST', '/');
        Object.keys(h).forEach(k => { r.setRequestHeader(k, h[k]); });
        r.setRequestHeader('Accept', 'text/plain');
        r.upload.onprogress = e => { u.sent = e.loaded * u.data.length / e.total; u.from = ''; u.progress(); };
        r.onerror = () => { fail(new Problem('No connection')); };
        r.onload = () => {
          if (r.status !== 200 && r.status !== 201) return fail(why(r, r.responseText));
          u.key = r.getResponseHeader('Asciid-Edit-Key') || '';
          done((r.getResponseHeader('Location') || r.responseText.trim()).split('/').pop());
        };
        u.abort.signal.addEventListener('abort', () => { r.abort(); fail(new DOMException('', 'AbortError')); });
        r.send(body);
      }).then(sha => u.done(sha, u.key ? '' : 'This host has it already'));
    }
    done(sha, note) {
      let u = this, id = sha.slice(0, 12), part = $('#done').content.cloneNode(true), link = $('.link', part), key = $('.key', part);
      u.phase = 'done';
      forget(u);
      link.href = '/i/' + id;
      link.append(location.host, d.createElement('wbr'), '/i/' + id);
      key.textContent = u.key;
      asciid.all('.keyed', part).forEach(e => { e.hidden = !u.key; });
      asciid.all('button', part).forEach((b, i) => b.addEventListener('click', () => asciid.copy(b, i ? key : link)));
      u.bar.replaceWith(part);
      u.state(note || (sha === u.sha ? '\u2713 Stored, hash checked' : '\u2713 Stored as UTF-8'));
      u.line.parentNode.classList.add('wraps');
      let acts = $('.acts2', u.li);
      acts.textContent = '';
      if (u.key || token()) {
        let b = d.createElement('button');
        b.type = 'button'; b.className = 'lnk'; b.textContent = 'Edit title and description';
        b.addEventListener('click', () => { u.edit(sha, b); });
        acts.append(b);
    }
    say(u.name + ' stored');
    drawn(u, id);
    }
    edit(sha, button) {
      let u = this, path = '/image/' + sha + '/about', old = $('.about', u.li);
      if (old) return old.remove();
      u.abort = new AbortController();
      call(u, 'GET', path).then(r => {
        let about = JSON.parse(r.text), tag = r.headers.get('ETag'), edit = $('#about').content.cloneNode(true).firstElementChild;
        edit.title.value = about.title;
        edit.elements.description.value = about.description;
        edit.addEventListener('submit', e => {
          e.preventDefault();
          about.title = edit.elements.title.value;
          about.description = edit.elements.description.value;
          let h = fields(u.key);
          h['Content-Type'] = 'application/json';
          if (tag) h['If-Match'] = tag;
          fetch(path, { method: 'PUT', headers: h, body: JSON.stringify(about) }).then(r => {
            return r.text().then(text => {
              if (!r.ok) throw why(r, text);
              edit.remove();
              button.focus();
              say('Saved');
              u.state('\u2713 Saved');
            });
          }).catch(e => { $('.told', edit).textContent = e.message; });
        });
        button.closest('div').parentNode.append(edit);
        edit.elements.title.focus();
      }).catch(e => { u.state(e.message); });
    }

  }
  function add(file) { new Upload(file, file.name || 'pasted.txt').read(); }
  function take(files) { [...files].forEach(add); }
  /* A file name as a title: at most 200 bytes of UTF-8, without characters that a title may not have. */
  function titleOf(name) {
    name = name.replace(/[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/g, '');
    while (new TextEncoder().encode(name).length > 200) name = [...name].slice(0, -1).join('');
    return name;
  }
  /* What the form says of a file. Title and description are those of one file; each of several has its name. */
  function about(u, alone) {
    let of = form.elements, out = { charset: of.charset.value, form: { charset: of.charset.value } };
    ['title', 'description'].forEach(k => { if (alone && of[k].value.trim()) out.form[k] = of[k].value.trim(); });
    if (of.expires.value) out.form.expires = of.expires.value;
    if (of.listed && of.listed.checked) out.form.listed = of.listed.value;
    out.json = Object.assign({ title: titleOf(u.name) }, out.form);
    delete out.json.charset;
    if (out.json.listed) out.json.listed = out.json.listed === 'true';
    return out;
  }
  form.addEventListener('submit', e => {
    e.preventDefault();
    let ready = uploads.filter(u => u.phase === 'ready');
    if (!ready.length) say('No file is ready to send');
    ready.forEach(u => { u.about = about(u, ready.length === 1); u.send(); });
    if (ready.length === 1) form.elements.title.value = form.elements.description.value = '';
  });
  input.required = false;
  input.addEventListener('click', () => { input.multiple = true; });
  input.addEventListener('change', () => { take(input.files); input.value = ''; });
  d.addEventListener('paste', e => {
    if (/^(INPUT|TEXTAREA)$/.test(e.target.tagName)) return;
    let c = e.clipboardData, text = c.getData('text/plain');
    if (c.files.length) take(c.files); else if (text) add(new File([text], 'pasted.txt', { type: 'text/plain' }));
  });
  ['dragenter', 'dragover', 'dragleave', 'drop'].forEach(name => {
    d.addEventListener(name, e => {
      if (!e.dataTransfer || !e.dataTransfer.types.includes('Files')) return;
      e.preventDefault();
      $('.drop').classList.toggle('over', name === 'dragover' || name === 'dragenter');
      if (name === 'drop') take(e.dataTransfer.files);
    });
  });
  kept('readonly', s => s.getAll()).then(all => {
    (all || []).forEach(was => {
      let u = new Upload(was.file, was.name);
      u.read().then(() => {
        if (u.sha !== was.sha) return forget(was);
        u.about = was.about; u.key = was.key;
        u.send();
      });
    });
  });
})(document);
