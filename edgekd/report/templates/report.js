const options = { responsive: true, displayModeBar: false };
function draw() {
  for (const source of document.querySelectorAll("script[data-plot]:not([data-drawn])")) {
    if (source.closest("details:not([open])")) continue; // it has no width yet
    const figure = JSON.parse(source.textContent);
    Plotly.newPlot(source.dataset.plot, figure.data, figure.layout, options);
    source.dataset.drawn = "";
  }
}
for (const folded of document.querySelectorAll("details")) folded.addEventListener("toggle", draw);
draw();
