// The export: streams the entries of a filter from the service into a file, with progress.

import { isAbort, stream } from './api.js';
import { h, replace } from './dom.js';
import { announce, button, number, openDialog, plural, shown } from './parts.js';
import { chips } from './query.js';
import { changed, params } from './route.js';

const FORMATS = {
  csv: { label: 'CSV, for a spreadsheet', type: 'text/csv' },
  ndjson: { label: 'NDJSON, one JSON object per line, for programs', type: 'application/x-ndjson' },
};
const BLOB_BYTES = 8 << 20;
const NEW_LINE = 10;
const QUOTE = 34;

/** Counts the entries of a stream. Returns a function that takes bytes and returns the number so far. */
const lineCounter = (format) => {
  // CSV begins with a head. A quoted cell may hold line breaks; a doubled quote closes and opens again.
  let lines = format === 'csv' ? -1 : 0;
  let isQuoted = false;
  return (bytes) => {
    for (const byte of bytes) {
      if (byte === QUOTE && format === 'csv') isQuoted = !isQuoted;
      else if (byte === NEW_LINE && !isQuoted) lines += 1;
    }
    return Math.max(lines, 0);
  };
};

const size = (bytes) => bytes < 1e6 ? `${number(Math.ceil(bytes / 1e3))} kB`
  : `${number(Math.round(bytes / 1e5) / 10)} MB`;

/** Opens the file: on disk if the browser can, and otherwise in memory until it is complete. */
const openFile = async (format) => {
  const { type } = FORMATS[format];
  const organization = params().get('organization').replace(/[^\w.-]+/g, '_');
  const name = `${organization}-audit-log-${new Date().toISOString().slice(0, 19).replaceAll(':', '')}Z.${format}`;
  if (window.showSaveFilePicker) {
    const handle = await window.showSaveFilePicker({ suggestedName: name,
      types: [{ accept: { [type]: [`.${format}`] } }] });
    // Bytes go to a temporary file, which takes the place of the real one with close().
    const file = await handle.createWritable();
    const write = (bytes) => file.write(bytes);
    return { name: handle.name, write, save: () => file.close(), drop: () => file.abort() };
  }
  let parts = [];
  let waiting = 0;
  return {
    name,
    write: (bytes) => {
      parts.push(bytes);
      waiting += bytes.length;
      if (waiting < BLOB_BYTES) return;
      // Browsers keep large blobs on disk.
      parts = [new Blob(parts)];
      waiting = 0;
    },
    save: () => {
      const address = URL.createObjectURL(new Blob(parts, { type }));
      h('a', { href: address, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
    },
    drop: () => { parts = []; },
  };
};

/** Opens the dialog that exports the `total` entries of `filter`, parameters of the REST list. */
export const exportDialog = (filter, total) => {
  const controller = new AbortController();
  let isRunning = false;
  const status = h('div', { class: 'progress', role: 'status' });
  const start = button('Export', () => run(), { primary: true });
  const close = button('Cancel', () => dialog.close());
  const formats = h('fieldset', null, h('legend', null, 'Format'), Object.keys(FORMATS).map((format) =>
    h('label', null, h('input', { type: 'radio', name: 'format', value: format, checked: format === 'csv' }),
      ` ${FORMATS[format].label}`)));
  const list = chips(filter);
  const subject = h('p', { class: 'subject' }, total === null ? 'All entries' : plural(total, 'entry', 'entries'),
    list.length === 0 ? ' of this organization, in the order of their numbers.' : ' that match:',
    h('span', { class: 'chips' }, list.map(({ label }) => h('code', { class: 'chip' }, shown(label, 200)))));

  const setRunning = (value) => {
    isRunning = formats.disabled = start.hidden = value;
    close.textContent = value ? 'Cancel' : 'Close';
  };
  const say = (text, isFault) => {
    replace(status, h('p', isFault ? { class: 'fault', role: 'alert' } : null, text));
    setRunning(false);
  };

  /** Copies the answer to the file, and shows the progress. Returns the number of entries and bytes. */
  const copyAll = async (response, file, format, done) => {
    const bar = h('progress', { max: String(total || 1), 'aria-label': 'Exported entries' });
    const line = h('p');
    replace(status, bar, line);
    const count = lineCounter(format);
    let shownAt = 0;
    const reader = response.body.getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      const bytes = piece.value;
      await file.write(bytes);
      done.bytes += bytes.length;
      done.entries = count(bytes);
      if (performance.now() - shownAt < 100) continue;
      shownAt = performance.now();
      bar.value = done.entries;
      const of = total === null ? '' : ` of ${number(total)}`;
      line.textContent = `${number(done.entries)}${of} entries, ${size(done.bytes)}`;
    }
    if (total !== null && done.entries < total) {
      throw new Error(`The service sent only ${number(done.entries)} of ${number(total)} entries.`);
    }
  };

  const run = async () => {
    const format = dialog.querySelector('input:checked').value;
    const done = { entries: 0, bytes: 0 };
    let file = null;
    let response = null;
    try {
      file = await openFile(format);
      setRunning(true);
      response = await stream(['export'], changed({ format }, filter), { signal: controller.signal });
      await copyAll(response, file, format, done);
      await file.save();
      say(`Saved ${plural(done.entries, 'entry', 'entries')}, ${size(done.bytes)}, as ${file.name}.`, false);
      start.hidden = true;
    } catch (error) {
      await Promise.resolve(file?.drop()).catch(() => {});
      if (controller.signal.aborted || (file === null && isAbort(error))) return;
      // A stream that breaks is a TypeError of fetch, whose text differs from browser to browser.
      const why = error instanceof TypeError && response !== null
        ? `The connection broke after ${plural(done.entries, 'entry', 'entries')}.` : error.message;
      if (file === null) say(`The file cannot be written: ${why}`, true);
      else if (response === null) say(`The export did not begin. ${why}`, true);
      else say(`The export is incomplete, so nothing was saved. ${why} Try again.`, true);
    }
  };

  const dialog = openDialog('export', 'Export', [subject, formats, status], [start, close]);
  dialog.addEventListener('cancel', (event) => { if (isRunning) event.preventDefault(); });
  dialog.addEventListener('close', () => {
    if (isRunning) announce('The export was cancelled. Nothing was saved.');
    controller.abort();
  });
};
