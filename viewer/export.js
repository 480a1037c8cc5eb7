// The export: streams the entries of a filter from the service into a file, with progress.

import { get, isAbort, stream } from './api.js';
import { h, replace } from './dom.js';
import { announce, button, number, plural, shown } from './parts.js';
import { chips } from './query.js';
import { params } from './route.js';

const FORMATS = {
  csv: { label: 'CSV, for a spreadsheet', type: 'text/csv' },
  ndjson: { label: 'NDJSON, one JSON object per line, for programs', type: 'application/x-ndjson' },
};
const BLOB_BYTES = 8 << 20;
const NEW_LINE = 10;
const QUOTE = 34;

/** Counts the entries of a stream. Returns a function that takes bytes and returns the number so far. */
export const lineCounter = (format) => {
  let lines = format === 'csv' ? -1 : 0;
  let quoted = false;
  return (bytes) => {
    if (format === 'csv') {
      // A quoted cell may hold line breaks. A doubled quote closes and opens again.
      for (const byte of bytes) {
        if (byte === QUOTE) quoted = !quoted;
        else if (byte === NEW_LINE && !quoted) lines += 1;
      }
    } else {
      for (let at = bytes.indexOf(NEW_LINE); at !== -1; at = bytes.indexOf(NEW_LINE, at + 1)) lines += 1;
    }
    return Math.max(lines, 0);
  };
};

const size = (bytes) => bytes < 1e6 ? `${number(Math.ceil(bytes / 1e3))} kB`
  : `${number(Math.round(bytes / 1e5) / 10)} MB`;

/** Opens the file: on disk if the browser can, and otherwise in memory until it is complete. */
const openFile = async (name, format) => {
  const { type } = FORMATS[format];
  if (window.showSaveFilePicker) {
    const types = [{ accept: { [type]: [`.${format}`] } }];
    const handle = await window.showSaveFilePicker({ suggestedName: name, types });
    // Bytes go to a temporary file, which takes the place of the real one with close().
    const file = await handle.createWritable();
    return {
      name: handle.name,
      write: (bytes) => file.write(bytes),
      save: () => file.close(),
      drop: () => file.abort(),
    };
  }
  let blobs = [];
  let parts = [];
  let waiting = 0;
  const pack = () => {
    blobs.push(new Blob(parts, { type }));
    parts = [];
    waiting = 0;
  };
  return {
    name,
    write: (bytes) => {
      parts.push(bytes);
      waiting += bytes.length;
      // Browsers keep large blobs on disk.
      if (waiting > BLOB_BYTES) pack();
    },
    save: () => {
      pack();
      const address = URL.createObjectURL(new Blob(blobs, { type }));
      h('a', { href: address, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    },
    drop: () => { blobs = parts = []; },
  };
};

/** Copies the stream to the file. Returns `{ entries, bytes }`; throws if the stream ended early. */
const copyAll = async (response, file, format, onProgress) => {
  const count = lineCounter(format);
  const reader = response.body.getReader();
  const done = { entries: 0, bytes: 0 };
  for (;;) {
    const { done: ended, value } = await reader.read();
    if (ended) return done;
    await file.write(value);
    done.bytes += value.length;
    done.entries = count(value);
    onProgress(done);
  }
};

const fileName = (format) => {
  const organization = (params().get('organization') ?? '').replace(/[^\w.-]+/g, '_');
  return `${organization}-audit-log-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}Z.${format}`;
};

/**
 * Opens the dialog that exports the entries of `filter`, parameters of the REST list. `known` is their number, if the
 * caller knows it.
 */
export const exportDialog = (filter, known = null) => {
  const controller = new AbortController();
  let total = known;
  let running = false;
  const choice = (format, checked) => h('label', null,
    h('input', { type: 'radio', name: 'format', value: format, checked }), ` ${FORMATS[format].label}`);
  const subject = h('p', { class: 'subject' });
  const status = h('div', { class: 'progress', role: 'status' });
  const start = button('Export', () => run(), { primary: true });
  const close = button('Cancel', () => dialog.close());
  const formats = h('fieldset', null, h('legend', null, 'Format'), choice('csv', true), choice('ndjson', false));
  const dialog = h('dialog', { class: 'export', 'aria-labelledby': 'export-title' },
    h('h2', { id: 'export-title' }, 'Export'), subject, formats, status, h('p', { class: 'buttons' }, start, close));

  const describe = () => {
    const list = chips(filter);
    replace(subject, total === null ? 'All entries' : plural(total, 'entry', 'entries'),
      list.length === 0 ? ' of this organization, in the order of their numbers.' : ' that match:',
      list.length === 0 ? null
        : h('span', { class: 'chips' }, list.map(({ label }) => h('code', { class: 'chip' }, shown(label, 200)))));
  };

  const run = async () => {
    const format = dialog.querySelector('input:checked').value;
    let file = null;
    const say = (text, isFault) => {
      replace(status, h('p', isFault ? { class: 'fault', role: 'alert' } : null, text));
      running = false;
      formats.disabled = false;
      start.hidden = false;
      close.textContent = 'Close';
    };
    try {
      file = await openFile(fileName(format), format);
    } catch (error) {
      if (isAbort(error)) return;
      say(`The file cannot be written: ${error.message}`, true);
      return;
    }
    running = true;
    formats.disabled = true;
    start.hidden = true;
    close.textContent = 'Cancel';
    const bar = h('progress', { max: String(total || 1), 'aria-label': 'Exported entries' });
    const line = h('p');
    replace(status, bar, line);
    let shownAt = 0;
    let began = false;
    let last = { entries: 0, bytes: 0 };
    const onProgress = (done) => {
      last = done;
      if (performance.now() - shownAt < 100) return;
      shownAt = performance.now();
      bar.value = done.entries;
      const of = total === null ? '' : ` of ${number(total)}`;
      line.textContent = `${number(done.entries)}${of} entries, ${size(done.bytes)}`;
    };
    try {
      const query = new URLSearchParams(filter);
      query.set('format', format);
      const response = await stream(['export'], query, { signal: controller.signal });
      began = true;
      const done = await copyAll(response, file, format, onProgress);
      if (total !== null && done.entries < total) {
        throw new Error(`The service sent only ${number(done.entries)} of ${number(total)} entries.`);
      }
      await file.save();
      say(`Saved ${plural(done.entries, 'entry', 'entries')}, ${size(done.bytes)}, as ${file.name}.`, false);
      start.hidden = true;
    } catch (error) {
      await Promise.resolve(file.drop()).catch(() => {});
      if (controller.signal.aborted) return;
      if (!began) {
        say(`The export did not begin. ${error.message}`, true);
        return;
      }
      // A stream that breaks is a TypeError of fetch, whose text differs from browser to browser.
      const broke = `The connection broke after ${plural(last.entries, 'entry', 'entries')}.`;
      const why = error instanceof TypeError ? broke : error.message;
      say(`The export is incomplete, so nothing was saved. ${why} Try again.`, true);
    }
  };

  dialog.addEventListener('cancel', (event) => { if (running) event.preventDefault(); });
  dialog.addEventListener('close', () => {
    if (running) announce('The export was cancelled. Nothing was saved.');
    controller.abort();
    dialog.remove();
  });
  describe();
  document.body.append(dialog);
  dialog.showModal();
  if (total === null) {
    get(['audit-log-counts'], filter, { signal: controller.signal }).then((answer) => {
      total = answer.total;
      describe();
    }, () => {});
  }
};
