// Markup in JavaScript: what stands in ${…} becomes text or an attribute's value, never
// markup.
import htm from './vendor/htm.js';
import {h, render, Component, createRef} from './vendor/preact.js';

export const html = htm.bind(h);
export {render, Component, createRef};
