// The proof of an entry in the panel, and changes of the answers that it needs.
import { ORGANIZATION, rest, tamper, VERIFIER_KEY } from './support.mjs';

/** The section of the panel. */
export const section = (page) => page.locator('aside.panel .proof');

/** What the panel says of the proof. */
export const verdict = async (page) => {
  await section(page).locator('.verdict-note').waitFor();
  return (await section(page).locator('.verdict-note').textContent()).replaceAll(/\s+/g, ' ');
};

/** Keeps the verifier key in the page, as if it had been pasted before; once, so that the page can forget it. */
const paste = (page, key) =>
  page.addInitScript(
    ([name, value]) => {
      if (sessionStorage.pasted === undefined) localStorage.setItem(name, value);
      sessionStorage.pasted = 'yes';
    },
    [`auditlog.verifier-key.${ORGANIZATION}`, key],
  );

/** Changes the answers of REST whose path ends as `pattern` says. */
export const change = (page, pattern, edit) => tamper(page, (url) => pattern.test(url.pathname), edit);

/** The paths of the answers that a proof needs. */
export const LEAF = /\/log\/entries\/\d+$/;
export const PATH = /\/log\/inclusion-proof$/;
export const CHECKPOINT = /\/log\/checkpoint$/;
export const KEYS = /\/log\/keys$/;
export const ENTRY = /\/audit-logs\/[^/]+$/;

let found = null;
/** An entry in the middle of the trail. Its JSON survives JavaScript, since its values are text. */
export const someEntry = () =>
  (found ??= rest(['audit-logs'], { action: 'updated', endDate: '2018-06-30', limit: 50 }).then(({ auditLogs }) =>
    auditLogs.find(
      ({ changes }) =>
        changes.length > 0 &&
        changes.every(({ oldValue, newValue }) =>
          [oldValue, newValue].every((value) => value === null || typeof value === 'string'),
        ),
    ),
  ));

/** Opens the panel of an entry after `prepare(page)`, and lets it check the proof. Returns the page. */
export const checked = async (open, prepare, { key = VERIFIER_KEY, ...options } = {}) => {
  const { id } = await someEntry();
  const before = async (page) => {
    if (key !== null) await paste(page, key);
    await prepare?.(page);
  };
  const page = await open({ entry: id }, { ...options, before });
  await section(page).getByRole('button', { name: 'Check the proof' }).click();
  return page;
};
