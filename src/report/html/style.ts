/** The page's style sheet: one column on a phone, several on a desk, two on paper; light and dark. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --muted: #57606a; --line: #d0d7de; --field: #f0f2f5; --accent: #0550ae;
  --leaf-1: #d4620a; --leaf-2: #2166c4; --leaf-3: #17804a; --leaf-4: #7e3fb5; --leaf-5: #5b6470;
  --series-1: #2166c4; --series-2: #d4620a; --series-3: #17804a; --series-4: #b3266d; --series-5: #7e3fb5;
  --series-6: #8a6d00;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #12161c; --ink: #e6eaef; --muted: #9aa5b1; --line: #3a434d; --field: #20262e; --accent: #79b8ff;
    --leaf-1: #f0914a; --leaf-2: #6aa9f7; --leaf-3: #4cc38a; --leaf-4: #c39af0; --leaf-5: #a3adb8;
    --series-1: #6aa9f7; --series-2: #f0914a; --series-3: #4cc38a; --series-4: #f07cb4; --series-5: #c39af0;
    --series-6: #d9b93b;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.4rem; line-height: 1.35; margin: 0 0 1rem; max-width: 60rem; }
h2, h3, h4, h5 { overflow-wrap: anywhere; }
section > :is(h2, h3) { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
section section > :is(h3, h4) { font-size: 1.05rem; margin: 1.5rem 0 .5rem; padding-top: 0; border-top: 0; }
figure > :is(h3, h4, h5) { font-size: 1rem; margin: 0 0 .25rem; }
article > h2 { font-size: 1.35rem; margin: 3rem 0 .75rem; padding-top: 1rem; border-top: 3px solid var(--ink); }
p { margin: 0 0 .75rem; }
a { color: var(--accent); }
code, pre { font-family: ui-monospace, monospace; font-size: .875em; }
pre { overflow-x: auto; padding: .75rem; background: var(--field); }
.subject, .note, figcaption, .downloads { color: var(--muted); font-size: .875rem; }
.subject { overflow-wrap: anywhere; margin: 0 0 .5rem; }
.warnings { border-left: 4px solid var(--leaf-1); margin: 1rem 0; padding: .25rem 0 .25rem .75rem; overflow-wrap: anywhere; }
.warnings ul { margin: 0; padding-left: 1.25rem; }
.scroll { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
thead th { vertical-align: bottom; white-space: normal; }
th:first-child, td.words { text-align: left; }
.strategies th:first-child { position: sticky; left: 0; background: var(--paper); }
.regression th:first-child { min-width: 9rem; white-space: normal; overflow-wrap: anywhere; }
.strategies .best > :is(th, td) { background: var(--field); }
dl { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 1rem; font-size: .875rem; color: var(--muted); }
dt { font-weight: 600; color: var(--ink); }
dd { margin: 0 0 .4rem; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); gap: 2rem 1.5rem; }
figure { margin: 0; min-width: 0; }
figure > svg { display: block; width: 100%; max-width: 420px; height: auto; font-family: inherit; }
figcaption { margin: .25rem 0; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; list-style: none; margin: .25rem 0; padding: 0; font-size: .8125rem; }
.legend.numbers { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
.legend svg { vertical-align: middle; }
.downloads { margin: 0; }
@media (min-width: 700px) { dl { grid-template-columns: max-content minmax(0, 1fr); } h1 { font-size: 1.6rem; } }
@media print {
  @page { margin: 12mm; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 15pt; }
  h2, h3, h4, h5, .legend { break-after: avoid; }
  figure, tr, .warnings { break-inside: avoid; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 6mm; }
  .scroll { overflow: visible; }
  .strategies { font-size: 7pt; }
  .strategies th, .strategies td { padding: 1pt 2.5pt; white-space: normal; }
  .strategies th:first-child { position: static; white-space: nowrap; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .downloads { display: none; }
  svg { print-color-adjust: exact; }
}
`;
