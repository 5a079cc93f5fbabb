// Markup in JavaScript: what stands in ${…} becomes text or an attribute's value, never
// markup.
import htm from './vendor/htm.js';
import {h, render, Component, createRef} from './vendor/preact.js';

// Characters that turn the direction of what follows are shown as such: a name must not
// reorder the words after it.
const turns = /[\u202a-\u202e\u2066-\u2069]/g;
const safe = c => typeof c === 'string' ? c.replace(turns, '\ufffd') : c;

export const html = htm.bind((tag, attributes, ...children) => h(tag, attributes, ...children.map(safe)));
export {render, Component, createRef};
