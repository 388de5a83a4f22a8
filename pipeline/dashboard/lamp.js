// A camera's lamp, its counters and figures; also feeds the tile's two charts.
export default {
  template: `
    <div class="figures" :data-key="k" :data-sequence="now.latest" :data-verdict="now.state">
      <div class="lamp" :class="'is-' + now.state" role="img" :aria-label="camera + ': ' + now.word">
        <svg viewBox="0 0 64 64" aria-hidden="true">
          <g v-if="now.state === 'ok'"><circle cx="32" cy="32" r="27"/><path d="M19 33l9 9 18-20"/></g>
          <g v-else-if="now.state === 'ng'"><path d="M32 5 61 58H3z"/><path d="M32 24v17M32 49v2"/></g>
          <g v-else-if="now.state === 'uninspected'"><path d="M32 3 61 32 32 61 3 32z"/><path d="M25 26a7 7 0 1 1 10 6c-3 2-3 3-3 6M32 45v2"/></g>
          <g v-else><circle cx="32" cy="32" r="27" stroke-dasharray="8 8"/></g>
        </svg>
        <span class="lamp-word">{{ now.word }}</span>
        <span v-if="now.why" class="lamp-why">{{ now.why }}</span>
      </div>
      <p class="part">
        <span class="part-name" :title="now.part">{{ now.part || 'no part yet' }}</span>
        <span v-if="now.score !== null" class="score">{{ now.score }} <small>of {{ now.threshold }} σ</small></span>
      </p>
      <ul class="counters" :aria-label="'counters of ' + camera">
        <li v-for="one in slow.counts" :key="one.name" :class="'count-' + one.kind" :title="slow.since">
          <b>{{ one.count }}</b> {{ one.name }}
        </li>
      </ul>
      <p class="rates">
        <span><b>{{ slow.rate }}</b> parts/s</span>
        <span v-if="slow.p50 !== null"><b>{{ slow.p50 }}</b> ms p50</span>
        <span v-if="slow.p50 !== null" :class="{ over: slow.over }"><b>{{ slow.p99 }}</b> ms p99</span>
        <span v-if="slow.takt !== null"><b>{{ slow.takt }}</b> ms takt</span>
      </p>
    </div>`,
  props: { k: String, camera: String, score_chart: Number, latency_chart: Number },
  data: () => ({
    now: { state: "none", word: "", why: "", part: "", score: null, threshold: null, latest: -1 },
    slow: { counts: [], rate: "0", p50: null, p99: null, takt: null, over: false, since: "" },
  }),
  mounted() {
    this.leave = taktline.take(this.k, (data) => {
      if (data.now) this.now = data.now;
      if (data.slow) this.slow = data.slow;
      if (data.charts) {
        this.charts = data.charts;
        this.draw();
      }
    });
    this.unwatch = taktline.watchView(() => setTimeout(this.draw));
  },
  unmounted() {
    this.leave();
    this.unwatch();
  },
  methods: {
    draw() {
      if (!this.charts) return;
      const { soft, rule } = taktline.ink();
      const axis = { axisLabel: { color: soft }, nameTextStyle: { color: soft }, splitLine: { lineStyle: { color: rule } } };
      for (const [id, options] of [[this.score_chart, this.charts.score], [this.latency_chart, this.charts.latency]]) {
        const chart = getElement(id)?.chart;
        if (chart) chart.setOption({ ...options, yAxis: { ...options.yAxis, ...axis } }, { lazyUpdate: true });
        else setTimeout(this.draw, 200);
      }
    },
  },
};
