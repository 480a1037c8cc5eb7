// Texts that attack a viewer, and entries that have them in every field.

/** Texts that ids of resources, users, traces and organizations may be: at most 250 bytes, no control characters. */
export const TEXTS = [
  '<img src=x onerror=alert(1)>',
  '"><script>alert(1)</script>',
  "'><svg/onload=alert(1)>",
  '</title></textarea></style></script><iframe srcdoc="<script>parent.alert(1)</script>"></iframe>',
  '<a href="javascript:alert(1)" target=_blank>click</a>',
  'javascript:alert(1)',
  'JaVaScRiPt://x/%0aalert(1)',
  'data:text/html,<script>alert(1)</script>',
  'https://evil.example/"onmouseover="alert(1)',
  '//evil.example/x',
  '<style>@import "https://evil.example/x";*{background:url(https://evil.example/y)}</style>',
  '<link rel=stylesheet href=https://evil.example/x><base href=https://evil.example/>',
  '<form action=https://evil.example><button formaction=javascript:alert(1)>x</button></form>',
  '<math><mtext><table><mglyph><style><!--</style><img src=x onerror=alert(1)>',
  '<svg><animate onbegin=alert(1) attributeName=x></svg><object data=javascript:alert(1)>',
  '<!--><img src=x onerror=alert(1)>-->',
  '&lt;img src=x onerror=alert(1)&gt;&#60;script&#62;',
  '{{constructor.constructor("alert(1)")()}}${alert(1)}#{alert(1)}',
  '");alert(1);//',
  "');alert(1);//",
  '?organization=org_other&key=stolen#key=al_stolen',
  '__proto__',
  'constructor',
  'toString',
  '%3Cimg src=x onerror=alert(1)%3E%00%2e%2e%2f',
  '../../../v1/admin?x=/viewer/',
  'pay\u202egnp.exe\u2066\u200b\ufeff\u00ad\u2028end',
  'a"b\\c\'d`e*f%g',
  '\u{1f468}\u200d\u{1f469}\u200d\u{1f467} \u{e0041}\u0301\u0489\ufdfd',
  '*',
  ' leading and trailing ',
  'x'.repeat(250),
];

const bytes = (text, most) => {
  let kept = text;
  while (Buffer.byteLength(kept) > most) kept = [...kept].slice(0, -1).join('');
  return kept;
};

/** Ids that an entry may have and that are names of something else, too. */
const IDS = ['__proto__', 'constructor', 'hasOwnProperty', '..', '.', 'then', 'x:y', '-'];

/** One entry for each text, with the text in each field that takes it, in an order in which the first text is newest. */
export const hostileEntries = (prefix) =>
  TEXTS.map((text, place) => {
    const other = TEXTS[(place + 1) % TEXTS.length];
    return {
      id: IDS[place] ?? `${prefix}_${place}`,
      resourceType: ['assistant', 'rule', 'user'][place % 3],
      resourceId: text,
      resourceName: `${text}\n\t\r\u0007${other}`.slice(0, 400).replace(/[\ud800-\udbff]$/, ''),
      action: ['updated', 'created', 'deleted', 'shared'][place % 4],
      userId: other,
      userName: text,
      userEmail: place % 2 ? text : `${text}@evil.example`.slice(0, 200).replace(/[\ud800-\udbff]$/, ''),
      traceId: text,
      outcome: ['success', 'failure', 'denied', undefined][place % 4],
      actorType: ['user', 'service', 'system', 'anonymous', undefined][place % 5],
      metadata: {
        [bytes(text, 64)]: text,
        ipAddress: text,
        userAgent: `${text} \u0007`,
        source: 'https://evil.example/',
      },
      changes: [
        { field: text, oldValue: text, newValue: `${text} ${other}` },
        {
          field: `${text}.${other}`,
          oldValue: { [text]: other },
          newValue: { [text]: text, [other]: [text, { [text]: null }] },
        },
        { field: 'items', oldValue: [text, other, 1], newValue: [other, text, '1', true] },
        { field: 'link', oldValue: `https://evil.example/${text}`, newValue: 'https://evil.example/' },
        { field: '', oldValue: null, newValue: `${text}${'y'.repeat(5000)}\n${other}` },
      ],
    };
  }).reverse();
