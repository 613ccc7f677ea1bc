"use strict";
// A point cloud that turns, in plain WebGL. Axes: x right, y up, z towards the viewer.
const MOST_POINTS = 300000;
const FARTHEST = 5; // of relative depth: the farthest point lies this many times as far as the nearest
const VERTEX = `
attribute vec3 place; attribute vec3 color; uniform mat4 view; uniform float size; varying vec3 shade;
void main() { gl_Position = view * vec4(place, 1.0); gl_PointSize = clamp(-size * place.z / gl_Position.w, 1.0, 12.0); shade = color; }`;
const FRAGMENT = "precision mediump float; varying vec3 shade; void main() { gl_FragColor = vec4(shade, 1.0); }";

// Return {places, colors, pivot, half, spacing}: points in front of the camera, and the distance that the view turns around.
function cloudPoints({item, values, photo, width, height, step}, at, table) {
  const every = Math.max(1, Math.ceil(Math.sqrt(values.length / MOST_POINTS)));
  const camera = item.camera || {fx: 0.96 * width * step, fy: 0.96 * width * step, cx: width * step / 2, cy: height * step / 2};
  const distance = distances(item, values);
  const places = [];
  const colors = [];
  const far = [];
  for (let y = 0; y < height; y += every) {
    for (let x = 0; x < width; x += every) {
      const z = distance(values[y * width + x]);
      if (!(z > 0) || !Number.isFinite(z)) continue;
      places.push((x * step + 0.5 - camera.cx) / camera.fx * z, (camera.cy - y * step - 0.5) / camera.fy * z, -z);
      far.push(z);
      if (photo) {
        const from = 4 * (Math.floor(y * photo.height / height) * photo.width + Math.floor(x * photo.width / width));
        colors.push(photo.data[from], photo.data[from + 1], photo.data[from + 2]);
      } else {
        const from = at(values[y * width + x]);
        colors.push(table[from], table[from + 1], table[from + 2]);
      }
    }
  }
  const pivot = far.length ? far.length / far.reduce((sum, z) => sum + 1 / z, 0) : 1; // near points count most
  const half = [width * step / camera.fx / 2, height * step / camera.fy / 2]; // tangents of half the field of view
  return {places: new Float32Array(places), colors: new Uint8Array(colors), pivot, half, spacing: every * step / camera.fx};
}

// Return a function from values to distances along the optical axis: metres as they are, others of an assumed depth.
function distances(item, values) {
  if (item.quantity === "metres") return (value) => value;
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const share = (value) => (high > low ? (value - low) / (high - low) : 0);
  if (item.quantity === "depth") return (value) => 1 + (FARTHEST - 1) * share(value);
  return (value) => 1 / (1 / FARTHEST + (1 - 1 / FARTHEST) * share(value));
}

// Return {matrix, scale}: the column-major matrix that turns around a pivot on the axis and projects, and its zoom.
function viewMatrix(turn, tilt, nearer, cloud, width, height) {
  const {pivot, half} = cloud;
  const [ct, st, cp, sp] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
  // camera = Rx(tilt) * Ry(turn) * (point + (0, 0, pivot)) - (0, 0, pivot / nearer)
  const rows = [[ct, 0, st], [sp * st, cp, -sp * ct], [-cp * st, sp, cp * ct]];
  const moved = rows.map((row) => row[2] * pivot);
  moved[2] -= pivot / nearer;
  const sx = Math.min(1 / half[0], height / width / half[1]); // the whole picture fits
  const sy = sx * width / height;
  const [near, far] = [pivot / 200, pivot * 200];
  const a = -(far + near) / (far - near);
  const b = -2 * far * near / (far - near);
  const matrix = [];
  for (let column = 0; column < 4; column++) {
    const [x, y, z] = column < 3 ? rows.map((row) => row[column]) : moved;
    matrix.push(sx * x, sy * y, a * z + (column === 3 ? b : 0), -z);
  }
  return {matrix: new Float32Array(matrix), scale: sx};
}

// Return the viewer of a canvas, as {fill}; null without WebGL.
function startCloud(canvas) {
  const gl = canvas.getContext("webgl", {antialias: true});
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  gl.enable(gl.DEPTH_TEST);
  const buffers = {place: gl.createBuffer(), color: gl.createBuffer()};
  let cloud = null;
  let [turn, tilt, nearer] = [0, 0, 1];
  let asked = false;

  function attribute(name, data, kind, normalized) {
    const slot = gl.getAttribLocation(program, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
    gl.enableVertexAttribArray(slot);
    gl.vertexAttribPointer(slot, 3, kind, normalized, 0, 0);
  }

  function draw() {
    asked = false;
    const scale = Math.min(2, globalThis.devicePixelRatio || 1);
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clearColor(0.06, 0.07, 0.08, 1);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!cloud || !cloud.places.length) return;
    const view = viewMatrix(turn, tilt, nearer, cloud, canvas.width, canvas.height);
    gl.uniformMatrix4fv(gl.getUniformLocation(program, "view"), false, view.matrix);
    gl.uniform1f(gl.getUniformLocation(program, "size"), 1.3 * cloud.spacing * view.scale * canvas.width / 2);
    gl.drawArrays(gl.POINTS, 0, cloud.places.length / 3);
  }

  function redraw() {
    if (!asked) requestAnimationFrame(draw);
    asked = true;
  }

  function move(across, up, zoom) {
    turn = Math.min(1.4, Math.max(-1.4, turn + across));
    tilt = Math.min(1.4, Math.max(-1.4, tilt + up));
    nearer = Math.min(8, Math.max(0.3, nearer * zoom));
    redraw();
  }

  const keys = {ArrowLeft: [-0.08, 0, 1], ArrowRight: [0.08, 0, 1], ArrowUp: [0, -0.08, 1], ArrowDown: [0, 0.08, 1], "+": [0, 0, 1.1], "-": [0, 0, 1 / 1.1]};
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key]) return;
    move(...keys[event.key]);
    event.preventDefault();
  });
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) move(event.movementX / 200, event.movementY / 200, 1);
  });
  canvas.addEventListener("wheel", (event) => {
    move(0, 0, Math.exp(-event.deltaY / 600));
    event.preventDefault();
  }, {passive: false});
  new ResizeObserver(redraw).observe(canvas);
  return {
    fill(points) {
      cloud = points;
      attribute("place", points.places, gl.FLOAT, false);
      attribute("color", points.colors, gl.UNSIGNED_BYTE, true);
      redraw();
    },
  };
}
