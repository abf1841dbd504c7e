for (const source of document.querySelectorAll("script[data-plot]")) {
  const figure = JSON.parse(source.textContent);
  const options = { responsive: true, displayModeBar: false };
  Plotly.newPlot(source.dataset.plot, figure.data, figure.layout, options);
}
