//! Pictures of tables, as SVG.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Circle, DrawingArea, EmptyElement,
    IntoDrawingArea as _, IntoFont as _, IntoLogRange as _, LineSeries, PathElement, RGBColor,
    Rectangle, SVGBackend, SeriesLabelPosition, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{BLACK, Color as _, WHITE};

const SIZE: (u32, u32) = (960, 540);
const FONT: &str = "sans-serif";
/// Told apart also by who sees few colours.
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

/// A picture.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The file's name, without `.svg`.
    pub name: String,
    /// What it shows.
    pub title: String,
    /// What is measured, with its unit.
    pub unit: &'static str,
    /// What is drawn.
    pub drawing: Drawing,
}

/// What a picture consists of.
#[derive(Clone, Debug)]
pub enum Drawing {
    /// For each group, its name and a bar for each of the series.
    Bars {
        /// What the bars of a group stand for.
        series: Vec<String>,
        /// The groups.
        groups: Vec<(String, Vec<f64>)>,
    },
    /// Lines over a logarithmic axis.
    Lines {
        /// What the axis counts.
        axis: &'static str,
        /// The lines, each with its name and points.
        series: Vec<(String, Vec<(f64, f64)>)>,
    },
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Axes<'a, X> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, RangedCoordf64>>;

impl Chart {
    /// Draws it.
    pub fn draw(&self, file: &Path) -> anyhow::Result<()> {
        let area = SVGBackend::new(file, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        match &self.drawing {
            Drawing::Bars { series, groups } => self.bars(&area, series, groups)?,
            Drawing::Lines { axis, series } => self.lines(&area, axis, series)?,
        }
        area.present()?;
        Ok(())
    }

    fn bars(
        &self,
        area: &Area<'_>,
        series: &[String],
        groups: &[(String, Vec<f64>)],
    ) -> anyhow::Result<()> {
        let top = top(groups.iter().flat_map(|(_, bars)| bars.iter().copied()));
        let mut builder = ChartBuilder::on(area);
        self.frame(&mut builder);
        let mut chart = builder.build_cartesian_2d(0.0..as_f64(groups.len()), 0.0..top)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .disable_x_axis()
            .light_line_style(WHITE)
            .label_style((FONT, 14))
            .axis_desc_style((FONT, 15));
        mesh.y_desc(self.unit).y_label_formatter(&|value| short(*value)).draw()?;
        // A fifth of a group is the gap to the next.
        let width = 0.8 / as_f64(series.len().max(1));
        for (at, (name, color)) in series.iter().zip(COLORS.iter().cycle()).enumerate() {
            let bars = groups.iter().enumerate().filter_map(|(group, (_, bars))| {
                let left = as_f64(group) + 0.1 + width * as_f64(at);
                let bar = [(left, 0.0), (left + width * 0.95, *bars.get(at)?)];
                Some(Rectangle::new(bar, color.filled()))
            });
            let drawn = chart.draw_series(bars)?;
            let square = |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled());
            drawn.label(name).legend(square);
        }
        let style = (FONT, 14).into_font().color(&BLACK).pos(Pos::new(HPos::Center, VPos::Top));
        chart.draw_series(groups.iter().enumerate().map(|(group, (name, _))| {
            let middle = (as_f64(group) + 0.5, 0.0);
            EmptyElement::at(middle) + Text::new(name.clone(), (0, 6), style.clone())
        }))?;
        legend(&mut chart)
    }

    fn lines(
        &self,
        area: &Area<'_>,
        axis: &str,
        series: &[(String, Vec<(f64, f64)>)],
    ) -> anyhow::Result<()> {
        let points = || series.iter().flat_map(|(_, points)| points.iter());
        let top = top(points().map(|point| point.1));
        let left = points().map(|point| point.0).fold(f64::INFINITY, f64::min).max(1.0);
        let right = points().map(|point| point.0).fold(left * 1.001, f64::max);
        let mut builder = ChartBuilder::on(area);
        self.frame(&mut builder);
        let range = (left * 0.8..right * 1.2).log_scale();
        let mut chart = builder.build_cartesian_2d(range, 0.0..top)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc(axis)
            .y_desc(self.unit)
            .light_line_style(WHITE)
            .label_style((FONT, 14))
            .axis_desc_style((FONT, 15));
        mesh.x_label_formatter(&|value| short(*value));
        mesh.y_label_formatter(&|value| short(*value)).draw()?;
        for ((name, points), color) in series.iter().zip(COLORS.iter().cycle()) {
            let line = LineSeries::new(points.iter().copied(), color.stroke_width(2));
            let dash = |(x, y)| PathElement::new([(x, y), (x + 12, y)], color.stroke_width(2));
            chart.draw_series(line)?.label(name).legend(dash);
            chart.draw_series(points.iter().map(|at| Circle::new(*at, 4, color.filled())))?;
        }
        legend(&mut chart)
    }

    fn frame(&self, builder: &mut ChartBuilder<'_, '_, SVGBackend<'_>>) {
        builder.caption(&self.title, (FONT, 20)).margin(16);
        builder.x_label_area_size(52).y_label_area_size(72);
    }
}

fn legend<'a, X>(chart: &mut Axes<'a, X>) -> anyhow::Result<()>
where
    X: Ranged<ValueType = f64> + 'a,
{
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE.mix(0.8));
    labels.border_style(BLACK.mix(0.2)).label_font((FONT, 14)).draw()?;
    Ok(())
}

/// Above the highest, so that there is room for the legend.
fn top(values: impl Iterator<Item = f64>) -> f64 {
    (values.fold(0.0, f64::max) * 1.4).max(1e-9)
}

#[expect(clippy::cast_precision_loss, reason = "a few groups")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

/// With k or M for thousands or millions.
fn short(value: f64) -> String {
    let (value, unit) = match value.abs() {
        1_000_000.0.. => (value / 1_000_000.0, "M"),
        1_000.0.. => (value / 1_000.0, "k"),
        _ => (value, ""),
    };
    let text = format!("{value:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_short_numbers() {
        for (value, text) in
            [(0.0, "0"), (12.5, "12.5"), (1000.0, "1k"), (31_400.0, "31.4k"), (2e6, "2M")]
        {
            assert_eq!(short(value), text);
        }
    }

    #[test]
    fn a_chart_shows_all_names() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = ("ours".to_owned(), "theirs".to_owned());
        let bars = Drawing::Bars {
            series: vec![a.clone(), b.clone()],
            groups: vec![("first".to_owned(), vec![1.0, 2.0])],
        };
        let points = vec![(1.0, 1.0), (1000.0, 2.0)];
        let lines =
            Drawing::Lines { axis: "first", series: vec![(a, points.clone()), (b, points)] };
        for drawing in [bars, lines] {
            let name = "chart".to_owned();
            let chart = Chart { name, title: "title".to_owned(), unit: "unit", drawing };
            let file = folder.path().join("chart.svg");
            chart.draw(&file).unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            for word in ["<svg", "title", "unit", "first", "ours", "theirs"] {
                assert!(text.contains(word), "{word}: {text}");
            }
        }
    }
}
