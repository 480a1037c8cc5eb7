// Runs all files of this directory in one process, with one browser. Each file also runs alone: node --test FILE
import { readdirSync } from 'node:fs';

for (const file of readdirSync(new URL('.', import.meta.url)).sort()) {
  if (file.endsWith('.test.mjs')) await import(`./${file}`);
}
