"""The style sheet of a report: light and dark, from a phone's width up."""

STYLE = """
:root{--bg:#fbfaf8;--card:#fff;--ink:#1d2127;--soft:#5c6470;--rule:#dddad3;--rail:#ecebe6;
--truth:#127a5b;--answer:#2a62c9;--s1:#b4540a;--s2:#8a3ea8;--s3:#127a5b;--s4:#a8313f;--s5:#6b6f00;--s6:#b8306f;--s7:#5c6470}
@media (prefers-color-scheme:dark){:root{--bg:#13161b;--card:#1b1f26;--ink:#e7e9ec;--soft:#a2abb8;--rule:#343b46;
--rail:#2a303a;--truth:#46c79b;--answer:#7fabff;--s1:#f2a056;--s2:#cf98ea;--s3:#46c79b;--s4:#f28b93;--s5:#c9cc55;
--s6:#f7a1c4;--s7:#a2abb8}}
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
overflow-wrap:anywhere}
header,main,footer{max-width:1040px;margin:0 auto;padding:0 20px}
header{padding-top:32px}
h1{font-size:26px;line-height:1.2;margin:0;letter-spacing:-.01em}
h2{font-size:19px;margin:0 0 12px}
h3{font-size:15px;font-weight:600;margin:0;flex:1;min-width:0}
p{margin:6px 0}
.kicker{color:var(--soft);font-size:13px;margin:0 0 4px}
section{margin:36px 0}
.note,.video,.pm,footer{color:var(--soft);font-size:13px}
footer{padding-top:12px;padding-bottom:32px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto;margin-bottom:18px}
.figures{min-width:100%}
.figures th,.figures td{padding:6px 8px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
.figures thead th{font-weight:600;font-size:13px;line-height:1.3;vertical-align:bottom}
.figures tbody th{text-align:left;font-weight:400;position:sticky;left:0;background:var(--bg)}
.figures .main th,.figures .main td{font-weight:700}
.figures .pm{display:block;font-size:11.5px;font-weight:400;line-height:1.2}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:20px 36px;align-items:start}
figure{margin:0}
.pair figcaption{font-weight:600;margin-bottom:6px}
.plot{display:block;width:100%;height:auto}
.plot text{font-size:10.5px;fill:var(--soft)}
.plot .axis{font-size:11px}
.grid{stroke:var(--rule);stroke-width:1;fill:none}
.bar{fill:var(--answer)}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}
.line.other{stroke-width:1.6;stroke-dasharray:5 3}
.s0{stroke:var(--answer)}.s1{stroke:var(--s1)}.s2{stroke:var(--s2)}.s3{stroke:var(--s3)}
.s4{stroke:var(--s4)}.s5{stroke:var(--s5)}.s6{stroke:var(--s6)}.s7{stroke:var(--s7)}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 16px;margin:8px 0 0;padding:0;font-size:13px}
.key{width:24px;height:8px;margin-right:6px}
.dots{width:100%;font-size:13px}
.dots th,.dots td{padding:4px 6px;font-weight:400;text-align:left}
.dots thead th{border-bottom:1px solid var(--rule)}
.dots thead th:first-child{font-weight:600}
.dots .n{text-align:right;white-space:nowrap}
.dots .pm{font-size:11.5px}
.dots th:first-child{width:30%}
.dots .track{width:36%}
.dots .scale{color:var(--soft);font-size:11px}
.scale span{float:left;width:33.3%}
.scale span:nth-child(2){text-align:center}
.scale span:nth-child(3){text-align:right}
.rail{position:relative;height:10px;border-radius:5px;background:var(--rail)}
.whisker{position:absolute;top:4px;height:2px;background:var(--answer)}
.dot{position:absolute;top:1px;width:8px;height:8px;margin-left:-4px;border-radius:50%;background:var(--answer)}
article{background:var(--card);border:1px solid var(--rule);border-radius:10px;padding:14px 16px;margin:12px 0}
.head{display:flex;gap:12px;align-items:baseline}
.iou{margin:0;font-weight:600;white-space:nowrap;font-variant-numeric:tabular-nums}
.video{margin:2px 0 10px}
.pictures{display:flex;flex-wrap:wrap;gap:12px;margin-bottom:10px}
.pictures img{display:block;border-radius:6px;max-width:100%;height:auto;background:var(--rail)}
.pictures figcaption{font-size:12px;color:var(--soft);margin-top:3px}
.lane{display:grid;grid-template-columns:32px 1fr 132px;gap:8px;align-items:center;margin:3px 0;font-size:12.5px}
.lane .rail{height:12px;border-radius:3px;overflow:hidden}
.lane .label{color:var(--soft)}
.lane .times{font-variant-numeric:tabular-nums;white-space:nowrap;text-align:right}
.lane .rail span{position:absolute;top:0;bottom:0;min-width:2px;border-radius:2px}
.truth{background:var(--truth)}
.answer{background:var(--answer)}
.rank2{opacity:.65}
.rank3{opacity:.45}
.swatch{display:inline-block;width:12px;height:8px;border-radius:2px;margin-right:2px}
.swatch.answer{margin-left:12px}
figcaption .swatch.answer{margin-left:0}
@media (max-width:520px){header,main,footer{padding-left:14px;padding-right:14px}header{padding-top:20px}
h1{font-size:21px}.lane{grid-template-columns:28px 1fr;gap:2px 8px}.lane .times{grid-column:2;text-align:left;
margin-bottom:4px}.figures .pm{font-size:11px}.dots .pm{display:block}}
@media print{article{break-inside:avoid}}
"""
