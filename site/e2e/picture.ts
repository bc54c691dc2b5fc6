/** A picture of 64 x 64 points. */
export const PICTURE = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQMAAACQp+OdAAAABlBMVEUAAAD///+l2Z/dAAAAHElEQVQoz2NgGAWjYBSMglEwCkbBKBgFo2AUAAAQQAAB0mQ+xQAAAABJRU5ErkJggg==",
  "base64",
);
