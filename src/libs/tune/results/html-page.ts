/** The page of the report: data as JSON, drawn as SVG by a script in the page itself. */

export interface ReportTrial {
  readonly id: string;
  readonly status: string;
  readonly config: Readonly<Record<string, unknown>>;
  /** One per objective; null where there is none. */
  readonly values: readonly (number | null)[];
  readonly iterations: number;
  readonly seconds: number;
  readonly error: string | undefined;
  readonly isPareto: boolean;
}

export interface ReportData {
  readonly name: string;
  readonly metrics: readonly string[];
  readonly modes: readonly string[];
  readonly summary: readonly (readonly [string, string])[];
  readonly trials: readonly ReportTrial[];
  readonly curves: readonly {
    readonly id: string;
    readonly points: readonly (readonly [number, number])[];
  }[];
  readonly importances: readonly { readonly parameter: string; readonly share: number }[];
  /** How many trials there are where not all are shown. */
  readonly total: number;
}

export function pageOf(data: ReportData): string {
  // "<" could end the script; as \u003c it is the same JSON.
  const json = JSON.stringify(data).replaceAll("<", "\\u003c");
  const title = escapeHtml(data.name);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title><style>${STYLE}</style></head>
<body><header><h1>${title}</h1><dl id="summary"></dl></header><main></main>
<script type="application/json" id="data">${json}</script><script>${SCRIPT}</script></body></html>
`;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"]/g, (each) => `&#${each.charCodeAt(0)};`);
}

const STYLE = `
:root{color-scheme:light dark;--ink:#1d232b;--soft:#68727f;--line:#d8dde3;--paper:#fff;--panel:#f7f8fa;--mark:#1f6feb;--best:#c2410c}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#98a2ae;--line:#343b44;--paper:#14181d;--panel:#1b2026;--mark:#6ea8fe;--best:#fb923c}}
*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:1.5rem;font:14px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
h1{font-size:1.3rem;margin:0 0 .6rem}h2{font-size:1rem;margin:0 0 .5rem}
dl{display:flex;flex-wrap:wrap;gap:.3rem 1.6rem;margin:0 0 1.2rem}dl div{display:flex;gap:.4rem}dt{color:var(--soft)}dd{margin:0}
section{background:var(--panel);border:1px solid var(--line);border-radius:6px;padding:1rem;margin-bottom:1rem;overflow-x:auto}
svg{display:block;max-width:100%;height:auto}svg text{fill:var(--soft);font-size:11px;paint-order:stroke;stroke:var(--panel);stroke-width:3px}svg .axis{stroke:var(--line)}
.row{display:flex;flex-wrap:wrap;gap:1rem}.row svg{flex:1 1 260px;max-width:345px}
.curve,.coord{fill:none;stroke:var(--mark);stroke-opacity:.35}.best,.sofar{fill:none;stroke:var(--best);stroke-opacity:1;stroke-width:2}
circle,circle.best{stroke:none}circle{fill:var(--mark);fill-opacity:.55}circle.best{fill:var(--best);fill-opacity:1}.bar{fill:var(--mark)}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:left;padding:.2rem .6rem;border-bottom:1px solid var(--line);white-space:nowrap}
th{cursor:pointer;color:var(--soft);font-weight:600}td.number{text-align:right}tr.error td{color:var(--best)}`;

/** Plain JavaScript for the browser. */
const SCRIPT = `"use strict";
const data=JSON.parse(document.getElementById("data").textContent);
const NS="http://www.w3.org/2000/svg";
const main=document.querySelector("main");
const metric=data.metrics[0],max=(data.modes[0]||"max")==="max";
const show=v=>typeof v==="number"?(Number.isInteger(v)?String(v):Math.abs(v)<1e-3?String(Number(v.toPrecision(3)).toExponential()):String(Number(v.toPrecision(4)))):v===null||v===undefined?"":typeof v==="object"?JSON.stringify(v):String(v);
function html(tag,props,...children){const e=document.createElement(tag);Object.assign(e,props||{});e.append(...children);return e}
function svg(tag,props,...children){const e=document.createElementNS(NS,tag);for(const k in props)e.setAttribute(k,props[k]);e.append(...children);return e}
function section(id,title,...children){const e=html("section",{id},html("h2",{textContent:title}),...children);main.append(e);return e}
function tip(e,text){e.append(svg("title",{},document.createTextNode(text)));return e}
for(const [name,value] of data.summary)document.getElementById("summary").append(html("div",{},html("dt",{textContent:name}),html("dd",{textContent:value})));
function scale(values,from,to){const numeric=values.every(v=>typeof v==="number");
 if(!numeric){const names=[...new Set(values.map(show))];const at=v=>from+(to-from)*(names.length<2?.5:names.indexOf(show(v))/(names.length-1));return{at,ticks:names.map(n=>[at(n),n])}}
 let low=Math.min(...values),high=Math.max(...values);const log=low>0&&high/low>50;const f=log?Math.log:x=>x;
 if(low===high){low=log?low/2:low-1;high=log?high*2:high+1}
 const at=v=>from+(to-from)*(f(v)-f(low))/(f(high)-f(low));
 return{at,ticks:(log?decades(low,high):round(low,high)).map(v=>[at(v),show(v)])}}
function round(low,high){const raw=(high-low)/4,ten=10**Math.floor(Math.log10(raw)),step=ten*[1,2,5,10].find(m=>m*ten>=raw);
 const ticks=[];for(let i=Math.ceil(low/step-1e-9);i*step<=high+1e-9*step;i++)ticks.push(Number((i*step).toPrecision(12)));return ticks}
function decades(low,high){const span=Math.log10(high/low),parts=span<2.5?[1,2,5]:[1],every=Math.ceil(span/6);const ticks=[];
 for(let e=Math.floor(Math.log10(low));e<=Math.log10(high);e++)if(e%every===0)for(const m of parts){const v=Number((m*10**e).toPrecision(12));if(v>=low*.999&&v<=high*1.001)ticks.push(v)}return ticks}
function frame(width,height,x,y,xName,yName){const g=svg("svg",{viewBox:"0 0 "+width+" "+height,role:"img","aria-label":yName+" by "+xName});
 for(const[px,t]of x.ticks)g.append(svg("line",{x1:px,x2:px,y1:24,y2:height-34,class:"axis"}),svg("text",{x:px,y:height-20,"text-anchor":"middle"},document.createTextNode(t)));
 for(const[py,t]of y.ticks)g.append(svg("line",{x1:56,x2:width-10,y1:py,y2:py,class:"axis"}),svg("text",{x:50,y:py+4,"text-anchor":"end"},document.createTextNode(t)));
 g.append(svg("text",{x:(width+46)/2,y:height-5,"text-anchor":"middle"},document.createTextNode(xName)),svg("text",{x:4,y:10},document.createTextNode(yName)));return g}
const valued=data.trials.filter(t=>t.values[0]!==null);
const bestId=valued.length?valued[0].id:undefined;
const label=t=>"trial "+t.id+"\\n"+data.metrics.map((m,i)=>m+" "+show(t.values[i])).join("\\n")+"\\n"+Object.entries(t.config).map(([k,v])=>k+" "+show(v)).join("\\n");
const byId=new Map(data.trials.map(t=>[t.id,t]));
const metricOf=t=>t.values[0];
if(data.metrics.length===1&&valued.length>1){const order=[...valued].sort((a,b)=>Number(a.id)-Number(b.id));const x=scale(order.map(t=>Number(t.id)),60,680),y=scale(order.map(metricOf),262,28);const g=frame(700,300,x,y,"trial",metric);
 let best=metricOf(order[0]);const line=[];for(const t of order){const v=metricOf(t),px=x.at(Number(t.id));line.push(px+","+y.at(best));if(max?v>best:v<best)best=v;line.push(px+","+y.at(best))}
 for(const t of order)g.append(tip(svg("circle",{r:3,cx:x.at(Number(t.id)),cy:y.at(metricOf(t)),class:t.id===bestId?"best":""}),label(t)));
 g.append(svg("polyline",{class:"sofar",points:line.join(" ")}));section("history","History: "+metric+", and the best so far",g)}
if(data.curves.some(c=>c.points.length>1)){const pts=data.curves.flatMap(c=>c.points);const x=scale(pts.map(p=>p[0]),60,680),y=scale(pts.map(p=>p[1]),262,28);const g=frame(700,300,x,y,"training_iteration",metric);
 for(const c of[...data.curves].reverse()){const cls="curve"+(c.id===bestId?" best":"");const mark=c.points.length>1?svg("polyline",{class:cls,points:c.points.map(p=>x.at(p[0])+","+y.at(p[1])).join(" ")}):svg("circle",{class:c.id===bestId?"best":"",r:3,cx:x.at(c.points[0][0]),cy:y.at(c.points[0][1])});g.append(tip(mark,label(byId.get(c.id))))}
 section("curves","Learning curves: "+metric,g)}
if(data.metrics.length>1){const both=data.trials.filter(t=>t.values[0]!==null&&t.values[1]!==null);if(both.length){const x=scale(both.map(t=>t.values[0]),60,680),y=scale(both.map(t=>t.values[1]),262,28);const g=frame(700,300,x,y,data.metrics[0],data.metrics[1]);
 for(const t of both)g.append(tip(svg("circle",{r:4,cx:x.at(t.values[0]),cy:y.at(t.values[1]),class:t.isPareto?"best":""}),label(t)));
 section("pareto","Pareto front",g)}}
if(data.importances.length){const g=svg("svg",{viewBox:"0 0 700 "+(data.importances.length*24+8),role:"img","aria-label":"parameter importances"});
 data.importances.forEach((each,i)=>{const y=i*24+6;g.append(svg("text",{x:180,y:y+13,"text-anchor":"end"},document.createTextNode(each.parameter)),svg("rect",{x:190,y,width:Math.max(1,each.share*430),height:16,class:"bar"}),svg("text",{x:196+each.share*430,y:y+13},document.createTextNode((each.share*100).toFixed(1)+" %")))});
 section("importances","Parameter importances for "+metric,g)}
const names=[...new Set(valued.flatMap(t=>Object.keys(t.config)))].filter(n=>new Set(valued.map(t=>show(t.config[n]))).size>1);
if(valued.length>1&&names.length){const row=html("div",{className:"row"});
 for(const n of names.slice(0,24)){const having=valued.filter(t=>t.config[n]!==undefined);const x=scale(having.map(t=>t.config[n]),60,296),y=scale(having.map(t=>t.values[0]),182,28);const g=frame(320,220,x,y,n,metric);
  for(const t of[...having].reverse())g.append(tip(svg("circle",{r:3,cx:x.at(t.config[n]),cy:y.at(t.values[0]),class:t.id===bestId?"best":""}),label(t)));row.append(g)}
 section("slices","Slices",row);
 const axes=[...names.slice(0,12),metric];const gap=axes.length>1?620/(axes.length-1):0;const value=(t,n)=>n===metric?t.values[0]:t.config[n];
 const scales=axes.map(n=>scale(valued.filter(t=>value(t,n)!==undefined).map(t=>value(t,n)),250,30));
 const g=svg("svg",{viewBox:"0 0 720 280",role:"img","aria-label":"parallel coordinates"});
 axes.forEach((n,i)=>{const px=50+i*gap;g.append(svg("line",{x1:px,x2:px,y1:30,y2:250,class:"axis"}),svg("text",{x:px,y:16,"text-anchor":"middle"},document.createTextNode(n)));for(const[py,t]of scales[i].ticks)g.append(svg("text",{x:px+4,y:py+4},document.createTextNode(t)))});
 // The better, the stronger.
 valued.map((t,i)=>[t,i]).reverse().forEach(([t,i])=>g.append(tip(svg("polyline",{class:"coord"+(t.id===bestId?" best":""),style:t.id===bestId?"":"stroke-opacity:"+(.08+.6*(1-i/valued.length)**2).toFixed(3),points:axes.map((n,i)=>value(t,n)===undefined?null:(50+i*gap)+","+scales[i].at(value(t,n))).filter(Boolean).join(" ")}),label(t))));
 section("parallel","Parallel coordinates",g)}
const columns=["trial","status",...data.metrics,"iterations","seconds",...new Set(data.trials.flatMap(t=>Object.keys(t.config)))];
const cell=(t,c,i)=>i===0?t.id:i===1?t.status:i<2+data.metrics.length?t.values[i-2]:c==="iterations"&&i===2+data.metrics.length?t.iterations:c==="seconds"&&i===3+data.metrics.length?t.seconds:t.config[c];
let sorted=[...data.trials],order={};
const body=html("tbody");
function fill(){body.replaceChildren(...sorted.map(t=>{const r=html("tr",{className:t.error?"error":"",title:t.error||""},...columns.map((c,i)=>{const v=cell(t,c,i);return html("td",{className:typeof v==="number"?"number":"",textContent:show(v)})}));return r}))}
const head=html("tr",{},...columns.map((c,i)=>{const th=html("th",{textContent:c});th.onclick=()=>{order[i]=-(order[i]||-1);sorted.sort((a,b)=>{const x=cell(a,c,i),y=cell(b,c,i);return order[i]*(typeof x==="number"&&typeof y==="number"?x-y:show(x)<show(y)?-1:show(x)>show(y)?1:0)});fill()};return th}));
fill();
section("trials",data.trials.length<data.total?"The best "+data.trials.length+" of "+data.total+" trials":"Trials",html("table",{},html("thead",{},head),body));
`;
