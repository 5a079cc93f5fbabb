package report

import (
	"bytes"
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	"ressa/coordinator/api"
)

// Data is what a picture shows.
type Data struct {
	Title  string
	Steps  []api.Step       // in order
	Scores []api.NamedScore // from left to right
	Layers []api.Layer      // in canonical order, vision before language
}

var (
	blue  = color.RGBA{R: 0x2b, G: 0x6c, B: 0xb0, A: 0xff}
	amber = color.RGBA{R: 0xd9, G: 0x7b, B: 0x1e, A: 0xff}
	grey  = color.RGBA{R: 0x55, G: 0x5b, B: 0x63, A: 0xff}
)

// PNG draws the picture: the loss by step, the scores in percent with 95 %
// intervals, and the share of zeros by layer.
func PNG(d Data) ([]byte, error) {
	panels := []func(Data) (*plot.Plot, error){lossPanel, scorePanel, layerPanel}
	row := make([]*plot.Plot, len(panels))
	for i, panel := range panels {
		p, err := panel(d)
		if err != nil {
			return nil, fmt.Errorf("draw: %w", err)
		}
		row[i] = p
	}
	const width, height, title = 15 * vg.Inch, 4.6 * vg.Inch, 0.35 * vg.Inch
	img := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(100), vgimg.UseBackgroundColor(color.White))
	canvas := draw.New(img)
	style := plot.New().Title.TextStyle
	style.Font.Size = 14
	style.XAlign, style.YAlign = draw.XCenter, draw.YTop
	canvas.FillText(style, vg.Point{X: width / 2, Y: height - 4}, d.Title)
	tiles := draw.Tiles{Rows: 1, Cols: len(row), PadX: 18, PadLeft: 8, PadRight: 14, PadTop: title, PadBottom: 6}
	for i, c := range plot.Align([][]*plot.Plot{row}, tiles, canvas)[0] {
		row[i].Draw(c)
	}
	var out bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: img}).WriteTo(&out); err != nil {
		return nil, fmt.Errorf("draw: %w", err)
	}
	return out.Bytes(), nil
}

func newPanel(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.TextStyle.Font.Size, p.X.Label.TextStyle.Font.Size, p.Y.Label.TextStyle.Font.Size = 12, 10, 10
	p.Title.Padding = 6
	grid := plotter.NewGrid()
	grid.Vertical.Color = color.Transparent
	grid.Horizontal.Color = color.Gray{Y: 0xe4}
	p.Add(grid)
	return p
}

func lossPanel(d Data) (*plot.Plot, error) {
	p := newPanel("Loss of the repair", "step", "mean per answer token")
	p.Y.Min = 0
	if len(d.Steps) == 0 {
		return p, nil
	}
	for _, c := range []struct {
		name  string
		color color.Color
		of    func(api.Step) float64
	}{
		{"objective", blue, func(s api.Step) float64 { return s.Loss }},
		{"cross-entropy", amber, func(s api.Step) float64 { return s.CE }},
	} {
		points := make(plotter.XYs, len(d.Steps))
		for i, s := range d.Steps {
			points[i] = plotter.XY{X: float64(s.Step), Y: c.of(s)}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = c.color, 1.4
		p.Add(line)
		p.Legend.Add(c.name, line)
	}
	p.Legend.Top = true
	return p, nil
}

func scorePanel(d Data) (*plot.Plot, error) {
	p := newPanel("Score on test images", "", "right answers, %")
	p.Y.Min, p.Y.Max = 0, 100
	names := make([]string, len(d.Scores))
	for i, s := range d.Scores {
		names[i] = s.Name
		bar, err := plotter.NewBarChart(plotter.Values{s.Score.Score}, 34)
		if err != nil {
			return nil, err
		}
		bar.XMin, bar.LineStyle.Width, bar.Color = float64(i), 0, barColor(s.Name)
		interval := whisker{x: float64(i), low: s.Score.Low, high: s.Score.High}
		label, err := plotter.NewLabels(plotter.XYLabels{
			XYs: plotter.XYs{{X: float64(i), Y: s.Score.High}}, Labels: []string{fmt.Sprintf("%.1f", s.Score.Score)}})
		if err != nil {
			return nil, err
		}
		label.TextStyle[0].XAlign, label.TextStyle[0].YAlign = draw.XCenter, draw.YBottom
		label.TextStyle[0].Font.Size = font.Length(10)
		label.Offset.Y = 3
		p.Add(bar, interval, label)
	}
	if len(names) > 0 {
		p.NominalX(names...)
		p.X.Min, p.X.Max = -0.6, float64(len(names))-0.4
	}
	return p, nil
}

func barColor(name string) color.Color {
	switch name {
	case "repaired":
		return blue
	case "pruned":
		return amber
	}
	return color.Gray{Y: 0xb0}
}

// whisker draws one interval.
type whisker struct{ x, low, high float64 }

// Plot implements plot.Plotter.
func (w whisker) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	x, lo, hi := tx(w.x), ty(w.low), ty(w.high)
	style := draw.LineStyle{Color: grey, Width: 1.2}
	c.StrokeLine2(style, x, lo, x, hi)
	c.StrokeLine2(style, x-5, lo, x+5, lo)
	c.StrokeLine2(style, x-5, hi, x+5, hi)
}

func layerPanel(d Data) (*plot.Plot, error) {
	p := newPanel("Sparsity by layer", "pruned linear layer", "zeros, %")
	p.Y.Min, p.Y.Max = 0, 100
	for _, tower := range []struct {
		name  string
		color color.Color
	}{{"vision", amber}, {"language", blue}} {
		var points plotter.XYs
		for i, l := range d.Layers {
			if l.Tower == tower.name {
				points = append(points, plotter.XY{X: float64(i), Y: 100 * l.Sparsity})
			}
		}
		if len(points) == 0 {
			continue
		}
		scatter, err := plotter.NewScatter(points)
		if err != nil {
			return nil, err
		}
		scatter.GlyphStyle = draw.GlyphStyle{Color: tower.color, Radius: 2.6, Shape: draw.CircleGlyph{}}
		p.Add(scatter)
		p.Legend.Add(tower.name, scatter)
	}
	p.Legend.Top = true
	return p, nil
}
