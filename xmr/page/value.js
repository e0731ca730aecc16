// What is to be drawn, as text so that it is told from what is drawn already.
let givenText, givenValue = null;
const given = () => {
  if (props.value !== givenText) {
    givenText = props.value;
    givenValue = givenText ? JSON.parse(givenText) : null;
  }
  return givenValue;
};
