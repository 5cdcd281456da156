'use strict';

// Elements from tags, attributes and children. Text becomes text nodes, never
// markup: names come from files.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) {
      node.addEventListener(name.slice(2), value);
    } else if (value !== null && value !== false) {
      node.setAttribute(name, value === true ? '' : value);
    }
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  const space = 'http://www.w3.org/2000/svg';
  return fill(document.createElementNS(space, tag), attributes, children);
}

// head: texts; rows: [name, ...cells], a cell being a text or [text, bold].
// Columns from textFrom on hold words.
function table(head, rows, textFrom) {
  const kind = (i) => (i === 0 || i >= textFrom ? 'text' : null);
  const cell = (content, i) => {
    const [text, bold] = Array.isArray(content) ? content : [content, false];
    if (i === 0) return el('th', {scope: 'row'}, text);
    return el('td', {class: kind(i)}, bold ? el('b', {}, text) : text);
  };
  return el('div', {class: 'wide', tabindex: '0', role: 'group',
                    'aria-label': 'Table, may scroll sideways'},
    el('table', {},
      el('thead', {}, el('tr', {}, ...head.map(
        (text, i) => el('th', {scope: 'col', class: kind(i)}, text)))),
      el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map(cell))))));
}

function menu(label, names, chosen, onchange) {
  const select = el('select', {onchange: () => onchange(select.selectedIndex)},
    ...names.map((name) => el('option', {}, name)));
  select.selectedIndex = chosen;
  return {select, label: el('label', {}, label, select)};
}
