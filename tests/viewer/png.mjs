// Makes a picture small: 256 colours are enough for a screenshot, and take a third of the bytes.
import { crc32, deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
const COLOURS = 256;

/** Undoes the filters of the lines (PNG, section 9). Returns the bytes of all pixels. */
const unfilter = (data, height, line, size) => {
  const pixels = Buffer.alloc(height * line);
  for (let y = 0; y < height; y += 1) {
    const filter = data[y * (line + 1)];
    for (let x = 0; x < line; x += 1) {
      const at = y * line + x;
      const left = x >= size ? pixels[at - size] : 0;
      const up = y > 0 ? pixels[at - line] : 0;
      const corner = x >= size && y > 0 ? pixels[at - line - size] : 0;
      const [toLeft, toUp, toCorner] = [up - corner, left - corner, left + up - 2 * corner].map(Math.abs);
      const paeth = toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner;
      const guess = [0, left, up, (left + up) >> 1, paeth][filter];
      pixels[at] = data[y * (line + 1) + 1 + x] + guess;
    }
  }
  return pixels;
};

/** Reads a PNG as browsers write it: 8 bits, RGB or RGBA, not interlaced. Returns 24 bits of colour for each pixel. */
const decode = (png) => {
  const data = [];
  let [width, height, size] = [0, 0, 0];
  for (let at = SIGNATURE.length; at < png.length; ) {
    const length = png.readUInt32BE(at);
    const type = png.toString('latin1', at + 4, at + 8);
    const body = png.subarray(at + 8, at + 8 + length);
    if (type === 'IHDR') [width, height, size] = [body.readUInt32BE(0), body.readUInt32BE(4), body[9] === 6 ? 4 : 3];
    if (type === 'IDAT') data.push(body);
    at += length + 12;
  }
  const bytes = unfilter(inflateSync(Buffer.concat(data)), height, width * size, size);
  const pixels = new Uint32Array(width * height);
  for (let place = 0; place < pixels.length; place += 1) pixels[place] = bytes.readUIntBE(place * size, 3);
  return { width, height, pixels };
};

const parts = (colour) => [colour >> 16, (colour >> 8) & 255, colour & 255];

/** The colours that represent all, by the median cut: the box with the most pixels in the widest range is halved. */
const paletteOf = (counts) => {
  const range = (box) => {
    const ranges = [0, 1, 2].map((part) => {
      const values = box.map(([colour]) => parts(colour)[part]);
      return (
        values.reduce((most, value) => Math.max(most, value), 0) -
        values.reduce((least, value) => Math.min(least, value), 255)
      );
    });
    const widest = Math.max(...ranges);
    return { widest, part: ranges.indexOf(widest), weight: box.reduce((sum, [, count]) => sum + count, 0) };
  };
  const boxes = [{ box: [...counts], ...range([...counts]) }];
  while (boxes.length < COLOURS) {
    const found = boxes.toSorted((a, b) => b.widest * Math.sqrt(b.weight) - a.widest * Math.sqrt(a.weight))[0];
    if (found.widest === 0) break;
    const sorted = found.box.toSorted(([a], [b]) => parts(a)[found.part] - parts(b)[found.part]);
    let [half, place] = [0, 0];
    while (place < sorted.length - 1 && (place === 0 || half + sorted[place][1] <= found.weight / 2))
      half += sorted[place++][1];
    const halves = [sorted.slice(0, place), sorted.slice(place)];
    boxes.splice(boxes.indexOf(found), 1, ...halves.map((box) => ({ box, ...range(box) })));
  }
  // The most frequent colour of a box stands for it, so that large areas keep theirs exactly.
  return boxes.map(({ box }) => box.reduce((most, one) => (one[1] > most[1] ? one : most))[0]);
};

const chunk = (type, body) => {
  const named = Buffer.concat([Buffer.from(type, 'latin1'), body]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(body.length);
  sum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, sum]);
};

/** Returns the picture with at most 256 colours. */
export const small = (png) => {
  const { width, height, pixels } = decode(png);
  const counts = new Map();
  for (const colour of pixels) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const palette = paletteOf(counts).sort((a, b) => a - b);
  const distance = (a, b) => parts(a).reduce((sum, part, place) => sum + (part - parts(b)[place]) ** 2, 0);
  const nearest = (colour) =>
    palette.reduce((best, one, place) => (distance(one, colour) < distance(palette[best], colour) ? place : best), 0);
  const places = new Map([...counts.keys()].map((colour) => [colour, nearest(colour)]));
  const lines = Buffer.alloc(height * (width + 1));
  for (let place = 0; place < pixels.length; place += 1) {
    lines[place + Math.floor(place / width) + 1] = places.get(pixels[place]);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  // 8 bits, a palette.
  header.set([8, 3, 0, 0, 0], 8);
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    chunk('PLTE', Buffer.from(palette.flatMap(parts))),
    chunk('IDAT', deflateSync(lines, { level: 9 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
};
