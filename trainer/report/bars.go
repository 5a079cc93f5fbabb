package report

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Panel is one chart of horizontal bars, from top to bottom.
type Panel struct {
	Title, Axis string
	Mark        float64 // where a line is drawn across; 0 for none
	Bars        []Bar
}

// Bar is one measurement with its quartiles. Bars of a group have one colour.
type Bar struct {
	Label, Group     string
	Value, Low, High float64
}

// The height of a bar with its space, and of what a panel has around its bars.
const (
	barPitch  = 15.0
	panelRest = 112.0
)

// Bars draws panels below each other, as PNG or as SVG.
func Bars(title string, panels []Panel, svg bool) ([]byte, error) {
	const width, top = 10.5 * vg.Inch, 0.4 * vg.Inch
	height := top
	for _, p := range panels {
		height += p.height()
	}
	var img interface {
		vg.CanvasSizer
		io.WriterTo
	}
	if svg {
		img = vgsvg.New(width, height)
	} else {
		img = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(100), vgimg.UseBackgroundColor(color.White))}
	}
	canvas := draw.New(img)
	style := plot.New().Title.TextStyle
	style.Font.Size, style.XAlign, style.YAlign = 13, draw.XCenter, draw.YTop
	canvas.FillText(style, vg.Point{X: width / 2, Y: height - 6}, title)
	y := height - top
	for _, p := range panels {
		c, err := p.plot()
		if err != nil {
			return nil, fmt.Errorf("draw: %w", err)
		}
		c.Draw(draw.Crop(canvas, 8, -16, y-p.height()+8, y-height-26))
		y -= p.height()
	}
	var out bytes.Buffer
	if _, err := img.WriteTo(&out); err != nil {
		return nil, fmt.Errorf("draw: %w", err)
	}
	return out.Bytes(), nil
}

func (p Panel) height() vg.Length { return vg.Length(panelRest + barPitch*float64(len(p.Bars))) }

func (p Panel) plot() (*plot.Plot, error) {
	c := plot.New()
	c.Title.Text, c.X.Label.Text = p.Title, p.Axis
	c.Title.TextStyle.Font.Size, c.X.Label.TextStyle.Font.Size = 12, 10
	c.Title.Padding = 6
	grid := plotter.NewGrid()
	grid.Horizontal.Color = color.Transparent
	grid.Vertical.Color = color.Gray{Y: 0xe4}
	c.Add(grid)
	colours := []color.Color{blue, amber, color.RGBA{R: 0x4c, G: 0x9a, B: 0x6a, A: 0xff}, color.RGBA{R: 0x8e, G: 0x5e, B: 0xa2, A: 0xff}, grey}
	var groups []string
	names := make([]string, len(p.Bars))
	c.X.Min = 0
	for i, b := range p.Bars {
		at := float64(len(p.Bars) - 1 - i)
		names[len(p.Bars)-1-i] = b.Label
		bar, err := plotter.NewBarChart(plotter.Values{b.Value}, barPitch-4)
		if err != nil {
			return nil, err
		}
		group := slices.Index(groups, b.Group)
		if group < 0 {
			group = len(groups)
			groups = append(groups, b.Group)
			c.Legend.Add(b.Group, bar)
		}
		bar.Horizontal, bar.XMin, bar.LineStyle.Width, bar.Color = true, at, 0, colours[group%len(colours)]
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: max(b.Value, b.High), Y: at}}, Labels: []string{fmt.Sprintf("%.2f", b.Value)}})
		if err != nil {
			return nil, err
		}
		label.TextStyle[0].YAlign, label.TextStyle[0].Font.Size, label.Offset.X = draw.YCenter, font.Length(8), 4
		c.Add(bar, across{at, b.Low, b.High}, label)
		c.X.Max = max(c.X.Max, 1.08*max(b.High, p.Mark))
	}
	if p.Mark > 0 {
		c.Add(mark(p.Mark))
	}
	c.NominalY(names...)
	c.Y.Tick.Label.Font.Size = 8.5
	c.Y.Min, c.Y.Max = -0.6, float64(len(p.Bars))-0.4
	c.X.Tick.Marker = ticks{}
	c.Legend.Top, c.Legend.YOffs, c.Legend.TextStyle.Font.Size = true, 14*vg.Length(len(groups)-1)+4, 9
	c.Legend.Padding, c.Legend.ThumbnailWidth = 2, 14
	return c, nil
}

// ticks puts a number at every half, or quarter of a short axis.
type ticks struct{}

// Ticks implements plot.Ticker.
func (ticks) Ticks(low, high float64) (out []plot.Tick) {
	step := 0.25
	for (high-low)/step > 9 {
		step *= 2
	}
	for v := 0.0; v <= high; v += step {
		out = append(out, plot.Tick{Value: v, Label: fmt.Sprintf("%.4g", v)})
	}
	return out
}

// across draws the quartiles of a horizontal bar.
type across struct{ y, low, high float64 }

// Plot implements plot.Plotter.
func (a across) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	y, lo, hi := ty(a.y), tx(a.low), tx(a.high)
	style := draw.LineStyle{Color: color.Gray{Y: 0x22}, Width: 1}
	c.StrokeLine2(style, lo, y, hi, y)
	c.StrokeLine2(style, lo, y-3, lo, y+3)
	c.StrokeLine2(style, hi, y-3, hi, y+3)
}

// mark draws a vertical line.
type mark float64

// Plot implements plot.Plotter.
func (m mark) Plot(c draw.Canvas, p *plot.Plot) {
	tx, _ := p.Transforms(&c)
	x := tx(float64(m))
	c.StrokeLine2(draw.LineStyle{Color: color.Gray{Y: 0x22}, Width: 1, Dashes: []vg.Length{4, 3}}, x, c.Min.Y, x, c.Max.Y)
}
