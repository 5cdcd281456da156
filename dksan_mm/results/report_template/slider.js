// Before and after: two pictures on one another, the left one clipped at the
// handle, which moves by pointer and by keys.
function makeStage(view, name) {
  const left = el('img', {class: 'before', draggable: 'false'});
  const right = el('img', {class: 'after', draggable: 'false'});
  const tags = [el('span', {class: 'tag left'}), el('span', {class: 'tag right'})];
  const handle = el('div', {class: 'handle', role: 'slider', tabindex: '0',
    'aria-label': `Divider of ${name}, between the left and the right picture`,
    'aria-valuemin': '0', 'aria-valuemax': '100', 'aria-orientation': 'horizontal'});
  const [width, height] = view.size;
  const places = view.places.map(({box}, i) => el('div', {class: 'place',
    style: `left: ${100 * box.left / width}%; top: ${100 * box.top / height}%;` +
      `width: ${100 * box.side / width}%; height: ${100 * box.side / height}%`},
    el('span', {}, String(i + 1))));
  const stage = el('div', {class: 'stage', style: `aspect-ratio: ${width} / ${height}`},
    right, left, ...places, ...tags, handle);
  let chosen = [0, 0], position = 50;

  function move(to) {
    position = Math.min(Math.max(to, 0), 100);
    left.style.clipPath = `inset(0 ${100 - position}% 0 0)`;
    handle.style.left = `${position}%`;
    handle.setAttribute('aria-valuenow', String(Math.round(position)));
    const [a, b] = chosen.map((i) => view.labels[i]);
    handle.setAttribute('aria-valuetext',
      `${Math.round(position)} % ${a}, ${Math.round(100 - position)} % ${b}`);
    tags[0].hidden = position < 8;
    tags[1].hidden = position > 92;
  }

  function choose(a, b) {
    chosen = [a, b];
    [left, right].forEach((image, k) => {
      const i = chosen[k], value = view.psnr[i];
      image.src = view.uris[i];
      image.alt = `${view.labels[i]}, ${name}, frame ${view.frame}`;
      tags[k].textContent = view.labels[i] + (value === '-' ? '' : ` ${value} dB`);
    });
    move(position);
  }

  handle.addEventListener('keydown', (event) => {
    const steps = {ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2,
                   PageDown: -10, PageUp: 10, Home: -100, End: 100};
    if (!(event.key in steps)) return;
    event.preventDefault();
    move(position + steps[event.key]);
  });
  let dragging = false;
  function drag(event) {
    const place = stage.getBoundingClientRect();
    move(100 * (event.clientX - place.left) / place.width);
  }
  stage.addEventListener('pointerdown', (event) => {
    // at actual size the picture scrolls, and only the handle drags
    const scrolls = stage.closest('.actual') && event.target !== handle;
    if (event.button !== 0 || scrolls) return;
    dragging = true;
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener('pointermove', (event) => { if (dragging) drag(event); });
  for (const kind of ['pointerup', 'pointercancel']) {
    stage.addEventListener(kind, () => { dragging = false; });
  }
  return {stage, choose, places};
}

function toggle(text, pressed, onchange) {
  const button = el('button', {type: 'button', 'aria-pressed': String(pressed),
    onclick: () => {
      const now = button.getAttribute('aria-pressed') !== 'true';
      button.setAttribute('aria-pressed', String(now));
      onchange(now);
    }}, text);
  return button;
}

// One frame: its slider with menus, and its crops. chosen holds what the menus
// show, for the next frame.
function makeView(view, name, chosen) {
  const {stage, choose, places} = makeStage(view, name);
  const last = view.labels.length - 1;
  const update = () => {
    chosen.left = a.select.selectedIndex;
    chosen.right = b.select.selectedIndex;
    choose(chosen.left, chosen.right);
  };
  const a = menu('Left', view.labels, Math.min(chosen.left ?? 0, last), update);
  const b = menu('Right', view.labels, Math.min(chosen.right ?? view.right, last), update);
  const scroller = el('div', {class: 'scroller'}, stage);
  const swap = el('button', {type: 'button', onclick: () => {
    [a.select.selectedIndex, b.select.selectedIndex] =
      [b.select.selectedIndex, a.select.selectedIndex];
    update();
  }}, 'Swap');
  const actual = toggle('Actual pixels', false, (now) => {
    scroller.classList.toggle('actual', now);
    stage.style.width = now ? `${view.size[0] / window.devicePixelRatio}px` : '';
  });
  const boxes = toggle('Crop marks', true, (now) => {
    for (const place of places) place.hidden = !now;
  });
  update();
  return el('div', {},
    el('div', {class: 'controls'}, a.label, b.label, swap, actual,
      places.length ? boxes : null),
    scroller,
    el('p', {class: 'hint'}, `Frame ${view.frame}, ${view.size.join(' x ')} pixels. ` +
      'Drag the divider, or move it with the arrow keys.'),
    ...makeCrops(view, name));
}

function makeCrops(view, name) {
  if (!view.places.length) return [];
  const rows = view.places.map((place, k) => el('div', {class: 'crops'},
    ...view.labels.map((label, i) => {
      const value = place.psnr[i] === '-' ? '' : ` ${place.psnr[i]} dB`;
      return el('figure', {}, el('img', {src: place.uris[i], loading: 'lazy',
          alt: `Crop ${k + 1} of ${name}, ${label}`}),
        el('figcaption', {}, place.best[i] ? el('b', {}, label + value) : label + value));
    })));
  const other = view.labels[Math.min(view.right, view.labels.length - 1)];
  return [el('h4', {}, `Where ${view.labels[0]} and ${other} differ most`),
    el('p', {class: 'hint'}, 'By mean absolute difference in squares of ' +
      `${view.places[0].box.side} pixels, marked in the frame; enlarged, PSNR of the crop.`),
    ...rows];
}
